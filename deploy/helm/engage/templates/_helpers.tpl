{{- define "engage.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "engage.selector" -}}
app.kubernetes.io/name: engage
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "engage.labels" -}}
{{ include "engage.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "engage.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "engage.variable" -}}
ENGAGE_{{ . | replace "." "_" | upper }}
{{- end -}}

{{- /* A setting as the environment has it: lists by commas, tables as name=value, whole numbers without an exponent. */ -}}
{{- define "engage.value" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}{{- $pairs = append $pairs (printf "%s=%v" $key $value) -}}{{- end -}}
{{ join "," $pairs }}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "engage.environment" -}}
- name: ENGAGE_KAFKA_BOOTSTRAP_SERVERS
  value: {{ required "kafka.bootstrapServers: say where Kafka is, as host:port" .root.Values.kafka.bootstrapServers | quote }}
- name: ENGAGE_WORKER_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $name, $value := .root.Values.settings }}
- name: {{ include "engage.variable" $name }}
  value: {{ include "engage.value" $value | quote }}
{{- end }}
{{- if not (hasKey .root.Values.secrets "redis.url") }}
{{- fail "secrets.redis.url: name the Secret that has the address of Redis, as in {name: engage-redis, key: url}" }}
{{- end }}
{{- range $name, $_ := .root.Values.secrets }}
- name: {{ include "engage.variable" $name }}_FILE
  value: /run/secrets/engage/{{ $name }}
{{- end }}
{{- end -}}

{{- /* The pod: component, command, part (its values), probes, grace. */ -}}
{{- define "engage.pod" -}}
metadata:
  labels:
    {{- include "engage.labels" . | nindent 4 }}
  {{- with .part.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with .part.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .part.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .part.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .spread }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "engage.selector" . | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "engage.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .arguments }}
      env:
        {{- include "engage.environment" . | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- if .probes }}
      ports:
        - {name: http, containerPort: 6066}
      # Kafka, the topics and the rules are looked at first; a large set of rules takes a while.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 60
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      {{- end }}
      resources:
        {{- toYaml .part.resources | nindent 8 }}
      volumeMounts:
        - {name: secrets, mountPath: /run/secrets/engage, readOnly: true}
        {{- if .root.Values.certificatesSecret }}
        - {name: certificates, mountPath: /run/certificates, readOnly: true}
        {{- end }}
  volumes:
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $name, $reference := .root.Values.secrets }}
          - secret:
              name: {{ $reference.name }}
              items:
                - {key: {{ $reference.key | quote }}, path: {{ $name | quote }}}
          {{- end }}
    {{- with .root.Values.certificatesSecret }}
    - name: certificates
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
{{- end -}}
