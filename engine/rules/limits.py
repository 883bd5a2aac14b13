"""Every bound of the rule language and of what a journey keeps with a customer."""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_YAML_NODES: Final = 10_000
MAX_YAML_DEPTH: Final = 32
MAX_YAML_LINE: Final = 65_536  # characters; what a reader does to one piece may take the square of its length
MAX_ERRORS_PER_FILE: Final = 100
MAX_FILES: Final = 10_000

MAX_EXPRESSION_CHARS: Final = 2_000
MAX_EXPRESSION_DEPTH: Final = 24
MAX_CACHED_EXPRESSIONS: Final = 2_048  # trees and programs kept for the next time the same text is read
MAX_EXPRESSION_COST: Final = 400  # of `ranges.cost_of`; more is a warning
MAX_TEXT_CHARS: Final = 500
MAX_NAME_CHARS: Final = 64

MAX_STEPS: Final = 64
MAX_STEP_DEPTH: Final = 8
MAX_DATA_VALUES: Final = 32
MAX_ARMS: Final = 16  # of one branch, and variants of one split
MAX_AWAITED: Final = 8  # events one wait_until waits for
MAX_SEQUENCES: Final = 16
MAX_SEQUENCE_DEPTH: Final = 4  # how deep sequences may run each other
MAX_TABLE_ROWS: Final = 64
MAX_TABLE_COLUMNS: Final = 8  # looked at, and as many given
MAX_TABLE_CHARS: Final = 50_000  # of the CEL one value of a table becomes
MAX_BEFORE_DAYS: Final = 365
MAX_CHANNELS: Final = 16  # of one template
MAX_TEXTS: Final = 32  # languages of one template
MAX_TEXT_PARTS: Final = 16  # subject, body, … of one language
MAX_TEMPLATE_TEXT: Final = 20_000  # characters of one part
MAX_EXITS: Final = 16
MAX_CAPS: Final = 8
MIN_COUNT: Final = 2
MAX_COUNT: Final = 20
MAX_COUNT_WINDOW_MS: Final = 30 * 86_400_000
MAX_CRON_CHARS: Final = 100
MAX_SCHEDULE_PER_DAY: Final = 24  # each instant is a timer of every customer
MAX_KEY_CHARS: Final = 64  # a longer key of a run is told by its hash
MAX_CAP_COUNT: Final = 16  # half of MAX_CONTACTS: one journey can't fill the history alone

MIN_DURATION_MS: Final = 1_000
MAX_DURATION_MS: Final = 400 * 86_400_000
MAX_CAP_WINDOW_MS: Final = 366 * 86_400_000
MAX_POLICY_ROWS: Final = 64
MAX_CONTACT_KINDS: Final = 32
MAX_PRIORITY: Final = 100
MAX_SEND_WINDOWS: Final = 14
MIN_OPEN_MIN: Final = 15  # of a week, left by send windows and quiet hours together
MIN_SHARED_WINDOW_MS: Final = 60_000  # of an entry cap or rate limit; a deferral is never shorter
MAX_SHARED_WINDOW_MS: Final = 31 * 86_400_000
MAX_LANES: Final = 10_000  # entry caps and rate limits a partition counts at a time
DEFAULT_EXPIRES_MS: Final = 7 * 86_400_000

MAX_ENTERED: Final = 512  # remembered journey entries of one customer
MAX_KEYS_REMEMBERED: Final = 32  # of one journey with `per`; then the oldest may enter again
MAX_MISMATCHES: Final = 4  # not-matched decisions of one sampled event
MAX_REASON_CHARS: Final = 300  # of an entry's reason; it is kept with the customer while inside
MAX_ACTION_TEXT: Final = 2_000  # characters of one data value

CONTACT_MEMORY_S: Final = 30 * 86_400  # kept for people to look at, also when no cap needs it

MAX_VERSIONS: Final = 100  # published versions that can be shown and rolled back to
MAX_KEPT_VERSIONS: Final = 10  # older versions of one journey kept for those inside
MAX_KEPT_MS: Final = MAX_DURATION_MS  # and for how long: the longest wait there is
MAX_PUBLICATION_TEXT: Final = 64 * 1024 * 1024
MAX_PUBLICATION_BYTES: Final = 8 * 1024 * 1024  # of one publication, packed
MAX_MESSAGE_CHARS: Final = 500  # of an author's message
PAUSE_RETRY_MS: Final = 3_600_000  # how often a message held back by a pause is judged anew
