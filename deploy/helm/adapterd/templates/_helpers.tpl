{{- define "adapterd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Where the release has the chart's name in it, it is said once. */}}
{{- define "adapterd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "adapterd.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "adapterd.selector" -}}
app.kubernetes.io/name: {{ include "adapterd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "adapterd.labels" -}}
{{ include "adapterd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "adapterd.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "adapterd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A probe's question: by HTTP where a kubelet can ask it, else only whether the port is open. */}}
{{- define "adapterd.probe" -}}
{{- if and .root.Values.tls.clientCA (eq .root.Values.tls.clientAuth "required") -}}
tcpSocket:
  port: http
{{- else -}}
httpGet:
  path: {{ .path }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" (not (empty .root.Values.tls.secretName)) }}
{{- end }}
timeoutSeconds: {{ .root.Values.probes.timeoutSeconds }}
{{- end -}}

{{/* What cannot work is refused here, by the name of the value. */}}
{{- define "adapterd.check" -}}
{{- if and (eq .Values.auth.mode "off") (not .Values.auth.insecureBind) -}}
{{- fail "auth.mode is off: whoever reaches the pod could do everything. Say auth.mode=keys, or auth.insecureBind=true where something in front asks who callers are" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (eq .Values.auth.mode "keys") (not .Values.auth.openMetrics) (not .Values.serviceMonitor.keySecret.name) -}}
{{- fail "serviceMonitor.enabled: /metrics needs a key. Say auth.openMetrics=true, or name the Secret of an admin's key in serviceMonitor.keySecret.name" -}}
{{- end -}}
{{- if and .Values.tls.clientCA (not .Values.tls.secretName) -}}
{{- fail "tls.clientCA needs tls.secretName" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (not .Values.inferencePool.endpointPicker.name) -}}
{{- fail "inferencePool.enabled needs inferencePool.endpointPicker.name" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (eq .Values.auth.mode "keys") (not .Values.auth.openMetrics) -}}
{{- fail "inferencePool.enabled: an endpoint picker reads /metrics without a key, so it needs auth.openMetrics=true" -}}
{{- end -}}
{{- end -}}
