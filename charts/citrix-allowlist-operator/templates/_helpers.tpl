{{- define "citrix-allowlist.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "citrix-allowlist.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "citrix-allowlist.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "citrix-allowlist.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Cluster-scoped names carry the namespace, so that two releases of one name do not meet. */}}
{{- define "citrix-allowlist.clusterName" -}}
{{- $name := include "citrix-allowlist.fullname" . }}
{{- if or (eq $name .Release.Namespace) (hasPrefix (printf "%s-" .Release.Namespace) $name) }}
{{- $name }}
{{- else }}
{{- printf "%s-%s" .Release.Namespace $name }}
{{- end }}
{{- end }}

{{- define "citrix-allowlist.selectorLabels" -}}
app.kubernetes.io/name: {{ include "citrix-allowlist.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "citrix-allowlist.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "citrix-allowlist-operator" }}
{{- toYaml (merge (include "citrix-allowlist.selectorLabels" . | fromYaml) $own .Values.commonLabels) }}
{{- end }}

{{- /* metadata: name, namespace (absent for cluster-scoped objects), labels, annotations; with "lasting", no label that
changes with the chart's version.
Called with (dict "root" $ "name" NAME "namespace" NAMESPACE "labels" MAP "annotations" MAP "lasting" BOOLEAN). */}}
{{- define "citrix-allowlist.metadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- $labels := merge (deepCopy (.labels | default dict)) (include "citrix-allowlist.labels" .root | fromYaml) }}
  {{- toYaml (.lasting | default false | ternary (omit $labels "helm.sh/chart" "app.kubernetes.io/version") $labels) | nindent 2 }}
{{- with merge (deepCopy (.annotations | default dict)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "citrix-allowlist.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "citrix-allowlist.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "citrix-allowlist.image" -}}
{{- $image := .Values.image }}
{{- $repository := list (default $image.registry (.Values.global | default dict).imageRegistry) $image.repository | compact | join "/" }}
{{- if $image.digest }}
{{- printf "%s@%s" $repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "citrix-allowlist.imagePullSecrets" -}}
{{- with concat ((.Values.global | default dict).imagePullSecrets | default list) .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* The flags of `citrix-allowlist run`, one argument each: what is empty is left to the operator's own default. */}}
{{- define "citrix-allowlist.args" -}}
{{- $v := .Values }}
{{- $args := list "run" (printf "--listen=%s:%v" $v.listenAddress (int $v.service.port)) (printf "--log-format=%s" $v.log.format) }}
{{- if $v.probePort }}
{{- if eq (int $v.probePort) (int $v.service.port) }}
{{- fail "probePort and service.port are two ports" }}
{{- end }}
{{- $args = append $args (printf "--probe-listen=%s:%v" $v.listenAddress (int $v.probePort)) }}
{{- end }}
{{- if ($v.debugState | default dict).authorize }}
{{- $args = append $args "--authorize-debug-state" }}
{{- end }}
{{- range $flag, $value := dict
  "global-url" $v.feed.globalUrl
  "japan-url" $v.feed.japanUrl
  "format" $v.feed.format
  "min-refresh" $v.feed.minRefresh
  "static-list-ports" $v.feed.staticListPorts
  "static-list-lifetime" $v.feed.staticListLifetime
  "dns-min-ttl" $v.dns.minTtl
  "dns-max-ttl" $v.dns.maxTtl
  "max-stale" $v.dns.maxStale
  "first-policy-wait" $v.dns.firstPolicyWait
  "history-retention" $v.history.retention
  "nat64-prefix" $v.cluster.nat64Prefix
  "cni" $v.cluster.cni }}
{{- if $value }}
{{- $args = append $args (printf "--%s=%s" $flag $value) }}
{{- end }}
{{- end }}
{{- range $flag, $value := dict
  "requests-per-minute" $v.feed.requestsPerMinute
  "dns-questions-per-second" $v.dns.questionsPerSecond
  "max-lists-per-namespace" $v.bounds.listsPerNamespace
  "max-lists" $v.bounds.lists
  "max-names-per-resource" $v.bounds.namesPerResource
  "max-names-per-namespace" $v.bounds.namesPerNamespace
  "max-names" $v.bounds.names
  "max-addresses-per-resource" $v.bounds.addressesPerResource
  "max-addresses-per-namespace" $v.bounds.addressesPerNamespace
  "max-addresses" $v.bounds.addresses
  "max-peers-per-policy" $v.cluster.maxPeersPerPolicy
  "shortest-ipv4-prefix" $v.guard.shortestIpv4Prefix
  "shortest-ipv6-prefix" $v.guard.shortestIpv6Prefix
  "concurrency" $v.concurrency }}
{{- $args = append $args (printf "--%s=%d" $flag (int $value)) }}
{{- end }}
{{- range $flag, $values := dict
  "dns-server" $v.dns.servers
  "allow-private-cidr" $v.guard.allowPrivateCidrs
  "deny-cidr" $v.guard.denyCidrs
  "additional-suffix" $v.guard.additionalSuffixes
  "service-cidr" $v.cluster.serviceCidrs
  "pod-cidr" $v.cluster.podCidrs
  "watch-namespace" $v.watchNamespaces
  "protected-namespace" $v.protectedNamespaces }}
{{- range $value := $values }}
{{- $args = append $args (printf "--%s=%s" $flag $value) }}
{{- end }}
{{- end }}
{{- range $cloud, $url := $v.feed.staticListUrls }}
{{- $args = append $args (printf "--static-list-url=%s=%s" $cloud $url) }}
{{- end }}
{{- if $v.feed.sharedTemplate }}
{{- $args = append $args "--shared-template" }}
{{- end }}
{{- if $v.feed.existingConfigMap }}
{{- $args = append $args "--feed-dir=/etc/citrix-allowlist/feed" }}
{{- end }}
{{- if include "citrix-allowlist.caVolume" . }}
{{- $args = append $args (printf "--extra-ca-file=/etc/citrix-allowlist/ca/%s" $v.extraCa.key) }}
{{- end }}
{{- with $v.forwarder }}
{{- if .enabled }}
{{- if not .upstreams }}
{{- fail "forwarder.upstreams is needed where forwarder.enabled: the DNS servers that the operator asks" }}
{{- end }}
{{- $args = concat $args (list (printf "--forward-listen=%s:%v" $v.listenAddress (int .port)) (printf "--forward-service=%s-dns" (include "citrix-allowlist.fullname" $)) (printf "--forward-settle=%s" .settle) (printf "--learned-retention=%s" .learnedRetention)) }}
{{- if .clients }}
{{- $args = append $args "--forward-clients" }}
{{- end }}
{{- range .upstreams }}
{{- $args = append $args (printf "--forward-upstream=%s" .) }}
{{- end }}
{{- range .zones }}
{{- $args = append $args (printf "--forward-zone=%s" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not $v.leaderElection }}
{{- $args = append $args "--no-leader-election" }}
{{- end }}
{{- toYaml (concat $args $v.extraArgs) }}
{{- end }}

{{- define "citrix-allowlist.caVolume" -}}
{{- if .Values.extraCa.configMap }}
configMap:
  name: {{ .Values.extraCa.configMap }}
{{- else if .Values.extraCa.secret }}
secret:
  secretName: {{ .Values.extraCa.secret }}
{{- end }}
{{- end }}

{{- /* Environment of every container that runs citrix-allowlist. */}}
{{- define "citrix-allowlist.env" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if .Values.forwarder.enabled }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- end }}
- name: RUST_LOG
  value: {{ .Values.log.level | quote }}
{{- with .Values.tracing.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- if or .Values.proxy.https .Values.proxy.http }}
- name: NO_PROXY
  value: {{ list .Values.proxy.noProxy "$(KUBERNETES_SERVICE_HOST)" | compact | join "," | quote }}
{{- end }}
{{- end }}

{{- /* What the operator does in each namespace it acts in. */}}
{{- define "citrix-allowlist.namespaceRules" -}}
# The users' resources.
- apiGroups: [citrix-allowlist.io]
  resources: [citrixallowlists]
  verbs: [list, watch]
# Their status.
- apiGroups: [citrix-allowlist.io]
  resources: [citrixallowlists/status]
  verbs: [patch]
# Owner references to a CitrixAllowlist, if the cluster enforces permission for them.
- apiGroups: [citrix-allowlist.io]
  resources: [citrixallowlists/finalizers]
  verbs: [update]
# The operator's objects.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# The pods that a policy isolates.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}

{{- /* Reviews of tokens that readers send to the operator: no Role can grant it. */}}
{{- define "citrix-allowlist.tokenRule" -}}
# The account of a token that requests /debug/state.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}
