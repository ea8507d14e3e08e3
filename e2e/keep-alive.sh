#!/usr/bin/env bash
# Like zero-downtime.sh, for clients that keep their connections: with `appProtocol: http` on the Service port every request is
# balanced by isopod's proxy, so that ten updates under keep-alive load fail none, not even when the server dies at once on SIGTERM.
# Run by `cargo xtask e2e keep-alive`; the helpers are those of the acceptance scripts.
. "${ACCEPTANCE:-$(dirname "$0")/../../shared/acceptance}/lib.sh" || exit
for p in busybox:busybox-static wrk:wrk; do command -v "${p%:*}" >/dev/null || { apt-get update -qq && apt-get install -y -qq "${p#*:}" >/dev/null; }; done
in_own_network "$0" "$@"
start_cluster
say "two images"
mkdir -p "$WORK/web/www"; cp "$(command -v busybox)" "$WORK/web/busybox"
cat >"$WORK/web/Dockerfile" <<'D'
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ARG VERSION=none
RUN mkdir -p /www && echo "version $VERSION" > /www/index.html
CMD ["sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait"]
D
for v in v1 v2; do check "build web:$v" "$ISOPOD" build --data-dir "$DATA" -t "web:$v" --build-arg "VERSION=$v" "$WORK/web"; done
cat >"$WORK/web.yaml" <<'Y'
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web:v1
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, appProtocol: http}]
Y
check "apply" k apply -f "$WORK/web.yaml"
check_out "rolled out" 'successfully rolled out' k rollout status deployment/web --timeout=60s
VIP=$(k get svc web -o 'jsonpath={.spec.clusterIP}'); PORT=$(k get svc web -o 'jsonpath={.spec.ports[0].nodePort}')
check_out "the cluster IP answers" 'version v1' curl -sf --max-time 5 "http://$VIP/"
check_out "the node port answers on loopback" 'version v1' curl -sf --max-time 5 "http://127.0.0.1:$PORT/"
check_out "answered by the proxy (the server speaks HTTP/1.0)" '^1.1$' curl -s -o /dev/null -w '%{http_version}' "http://$VIP/"

say "ten updates under load that keeps its connections"
STOP="$WORK/stop"
load() { local name=$1; shift; python3 "$HERE/load.py" "$@" --keep-alive --stop "$STOP" >"$WORK/load.$name" 2>"$WORK/load.$name.err" & }
# busybox forks for every request and queues nine connections: with wrk's 64 beside it an answer may take a while, on a busy machine.
load vip  "http://$VIP/" --clients 6 --slowest 5 --expect '^version v[12]$'
load node "http://127.0.0.1:$PORT/" --clients 2 --slowest 5 --expect '^version v[12]$'
{ while [ ! -e "$STOP" ]; do wrk -t2 -c64 -d5s --timeout 5s "http://$VIP/"; done >"$WORK/wrk" 2>&1; } &
sleep 2
for round in 1 2 3 4 5; do
  check "set image v2 ($round)" k set image deployment/web web=web:v2
  check_out "…rolled out" 'successfully rolled out' k rollout status deployment/web --timeout=120s
  check "undo ($round)" k rollout undo deployment/web
  check_out "…rolled out" 'successfully rolled out' k rollout status deployment/web --timeout=120s
done
sleep 2; touch "$STOP"; wait
for l in vip node; do
  say "$l: $(cat "$WORK/load.$l")"
  is "$l: no request failed" 0 "$(loaded $l failed)"
done
say "wrk: $(grep -c 'Requests/sec' "$WORK/wrk") runs, $(awk '/requests in/ {n += $1} END {print n}' "$WORK/wrk") requests"
if grep -E 'Socket errors|Non-2xx' "$WORK/wrk"; then fail "wrk: no request failed"; else pass "wrk: no request failed"; fi
done_all
