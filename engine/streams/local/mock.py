"""The broker inside librdkafka, as a process of its own.

Started from its path with the path of librdkafka's shared library, it prints its bootstrap address and
then reads `topic NAME PARTITIONS` lines, answering `ok` or an error; it ends with its stdin or with the
process that started it. librdkafka's C functions are called directly, because only they can choose the
number of partitions of a topic (one made by a first produce has 4) and shorten the three seconds that a
consumer group waits for members.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PRODUCER = 0
_ERROR_TEXT_BYTES = 512
_GROUP_WAIT_MS = 0
_OWNER_POLL_S = 0.5


def load(library: str) -> ctypes.CDLL:
    """Load librdkafka and declare the functions used here.

    Args:
        library: path of the shared library.

    Returns:
        The library.
    """
    rdkafka = ctypes.CDLL(library)
    handle, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": ([], handle),
        "rd_kafka_conf_set": ([handle, text, text, text, ctypes.c_size_t], number),
        "rd_kafka_new": ([number, handle, ctypes.c_char_p, ctypes.c_size_t], handle),
        "rd_kafka_mock_cluster_new": ([handle, number], handle),
        "rd_kafka_mock_cluster_bootstraps": ([handle], text),
        "rd_kafka_mock_topic_create": ([handle, text, number, number], number),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": ([handle, ctypes.c_int32], None),
        "rd_kafka_err2str": ([number], text),
    }
    for name, (arguments, result) in signatures.items():
        function = getattr(rdkafka, name)
        function.argtypes, function.restype = arguments, result
    return rdkafka


def main(library: str, owner_pid: int) -> None:
    """Serve until stdin ends.

    Args:
        library: path of librdkafka's shared library.
        owner_pid: the process whose end ends this one.
    """
    threading.Thread(target=_end_with, args=(owner_pid,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(
            number, signal.SIG_IGN
        )  # Ctrl-C is the owner's; this process ends when the owner says so
    rdkafka = load(library)
    error = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    conf = rdkafka.rd_kafka_conf_new()
    rdkafka.rd_kafka_conf_set(conf, b"log_level", b"0", None, 0)  # it would warn that it has no broker
    client = rdkafka.rd_kafka_new(_PRODUCER, conf, error, _ERROR_TEXT_BYTES)
    if not client:
        sys.exit(f"librdkafka did not start: {error.value.decode()}")
    cluster = rdkafka.rd_kafka_mock_cluster_new(client, 1)
    rdkafka.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, _GROUP_WAIT_MS)
    _say(rdkafka.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    for line in sys.stdin:
        _, topic, partitions = line.split()
        code = rdkafka.rd_kafka_mock_topic_create(cluster, topic.encode(), int(partitions), 1)
        _say(rdkafka.rd_kafka_err2str(code).decode() if code else "ok")
    os._exit(0)  # librdkafka's own tear-down waits for its threads; nothing here needs it


def _end_with(owner_pid: int) -> None:
    # Stdin alone does not tell: a process forked from the owner holds the other end open too.
    while os.getppid() == owner_pid:
        time.sleep(_OWNER_POLL_S)
    os._exit(0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
