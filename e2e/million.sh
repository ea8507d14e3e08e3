#!/usr/bin/env bash
# A million requests, none lost: zero-downtime.sh ROUNDS times in a row, and between them updates without a pause under the stronger load
# of wrk (a new connection for every request), until REQUESTS have been answered in all. Then the control: DRAIN=off must lose some.
# Not in CI (about 40 minutes): `cargo xtask e2e million`. ROUNDS=1 REQUESTS=100000 is a try.
. "${ACCEPTANCE:-$(dirname "$0")/../../shared/acceptance}/lib.sh" || exit
for p in busybox:busybox-static wrk:wrk; do command -v "${p%:*}" >/dev/null || { apt-get update -qq && apt-get install -y -qq "${p#*:}" >/dev/null; }; done
ROUNDS=${ROUNDS:-10} REQUESTS=${REQUESTS:-1000000}
RECEIPTS=${RECEIPTS:-$(mktemp)}; export ROUNDS REQUESTS RECEIPTS
# tally FILE: adds up requests and failures of the receipts that zero-downtime.sh prints
tally() { sed -n 's/^== [a-z]*: \({.*}\)$/\1/p' "$1" | python3 -c 'import json, sys
r = [json.loads(l) for l in sys.stdin]; print(sum(x["requests"] for x in r), sum(x["failed"] for x in r))'; }

if [ -z "${ISOPOD_NETNS:-}" ]; then
  get_kubectl; export KUBECTL
  for round in $(seq "$ROUNDS"); do
    say "zero-downtime.sh, round $round of $ROUNDS"
    bash "$HERE/zero-downtime.sh" >"$WORK/round" 2>&1 || { tail -5 "$WORK/round"; fail "round $round"; }
    grep '^== .*requests' "$WORK/round"; tally "$WORK/round" >>"$RECEIPTS"
  done
  say "the control: the same without drain"
  DRAIN=off bash "$HERE/zero-downtime.sh" >"$WORK/round" 2>&1 || { tail -5 "$WORK/round"; fail "the control"; }
  grep '^== .*requests' "$WORK/round"
fi
in_own_network "$0" "$@"
start_cluster
say "updates under wrk's load"
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
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
Y
check "apply" k apply -f "$WORK/web.yaml"
check_out "rolled out" 'successfully rolled out' k rollout status deployment/web --timeout=60s
VIP=$(k get svc web -o 'jsonpath={.spec.clusterIP}')
have() { awk '{n += $1} END {print n + 0}' "$RECEIPTS"; }
STOP="$WORK/stop"; : >"$WORK/wrk"
# Eight connections: busybox queues nine, and what its full queue drops waits for a second.
{ while [ ! -e "$STOP" ]; do wrk -t2 -c8 -d10s --timeout 5s -H 'Connection: close' "http://$VIP/"; done >"$WORK/wrk" 2>&1; } & WRK=$!
updates=0
while [ $(($(have) + $(awk '/requests in/ {n += $1} END {print n + 0}' "$WORK/wrk"))) -lt "$REQUESTS" ]; do
  for v in v2 v1; do
    k set image deployment/web web=web:$v >/dev/null
    k rollout status deployment/web --timeout=120s >"$WORK/out" 2>&1 || { cat "$WORK/out"; fail "update $updates"; }
    updates=$((updates + 1))
  done
done
touch "$STOP"; wait $WRK
grep -E 'Socket errors|Non-2xx' "$WORK/wrk" || true
# "Socket errors: connect 0, read 1, write 0, timeout 0" · "Non-2xx or 3xx responses: 3"
lost=$(awk '/Socket errors|Non-2xx/ {sub("2xx or 3xx", ""); while (match($0, /[0-9]+/)) {n += substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH)}} END {print n + 0}' "$WORK/wrk")
echo "$(awk '/requests in/ {n += $1} END {print n + 0}' "$WORK/wrk") $lost" >>"$RECEIPTS"
say "$updates updates under wrk: $(tail -1 "$RECEIPTS") (requests, failed)"
say "in all: $(have) requests, $(awk '{n += $2} END {print n + 0}' "$RECEIPTS") failed"
is "none failed" 0 "$(awk '{n += $2} END {print n + 0}' "$RECEIPTS")"
holds "enough of them" "$(have)" -ge "$REQUESTS"
done_all
