#!/usr/bin/env bash
# Every kind of Service on the built binary with real containers: from the machine, from a pod, from the endpoint itself and from a
# neighbour; and every name that the Kubernetes DNS specification (github.com/kubernetes/dns) promises, asked with dig.
# Run by `cargo xtask e2e services`; the helpers are those of the acceptance scripts.
. "${ACCEPTANCE:-$(dirname "$0")/../../shared/acceptance}/lib.sh" || exit
E2E=$(cd "$(dirname "$0")" && pwd)
for p in busybox:busybox-static dig:bind9-dnsutils; do command -v "${p%:*}" >/dev/null || { apt-get update -qq && apt-get install -y -qq "${p#*:}" >/dev/null; }; done
in_own_network "$0" "$@"
# A resolv.conf of our own, that nobody else sees.
[ -n "${OWN_FILES:-}" ] || OWN_FILES=1 exec unshare --mount --propagation private bash "$0" "$@"
printf 'nameserver 192.0.2.1\nsearch corp.example\noptions timeout:1\n' >"$WORK/resolv.conf"
mount --bind "$WORK/resolv.conf" "$(realpath /etc/resolv.conf)"
# The machine is 192.0.2.1 and has a neighbour, 192.0.2.9.
OUTSIDE=$ISOPOD_NETNS-out
ip netns add "$OUTSIDE"
ip link add lan type veth peer name eth0 netns "$OUTSIDE"
ip addr add 192.0.2.1/24 dev lan; ip link set lan up; ip route add default via 192.0.2.9
ip -n "$OUTSIDE" addr add 192.0.2.9/24 dev eth0; ip -n "$OUTSIDE" link set eth0 up; ip -n "$OUTSIDE" route add default via 192.0.2.1
# The neighbour is also the way out, and a machine that sends packets back where they came from tells the sender so, out of what it may
# spend on refusals.
for link in all lan; do echo 0 >"/proc/sys/net/ipv4/conf/$link/send_redirects"; done
python3 "$E2E/resolver.py" 192.0.2.1 "$WORK/questions" & RESOLVER=$!
start_cluster --advertise-address 192.0.2.1
BEYOND=
clean() {
  "$ISOPOD" delete --data-dir "$DATA" >/dev/null 2>&1 || true
  kill "$RESOLVER" $BEYOND 2>/dev/null || true
  ip netns del "$OUTSIDE"
  umount "$(realpath /etc/resolv.conf)"; rm -rf "$WORK"
}
trap clean EXIT

say "an image, pods and Services"
mkdir "$WORK/peer"; cp "$(command -v busybox)" "$WORK/peer/busybox"
check "compile the peer" rustc --edition 2024 -C opt-level=s -C strip=symbols -C target-feature=+crt-static -o "$WORK/peer/peer" "$E2E/peer.rs"
cat >"$WORK/peer/Dockerfile" <<'D'
FROM scratch
COPY busybox peer /bin/
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENTRYPOINT ["peer", "serve"]
D
check "build" "$ISOPOD" build --data-dir "$DATA" -t peer:v1 "$WORK/peer"
check "the Services and pods are there" k apply -f "$E2E/services.yaml"
check "pods are ready" k wait pod one two set-0 set-1 client untold own-names more-names on-node on-node-plain full-name retired --for=condition=Ready --timeout=60s
check_out "the Deployment is rolled out" 'successfully rolled out' k rollout status deployment/crowd --timeout=60s

# Places to ask from: the machine, its neighbour, a pod. (Pods are entered as kubectl exec does it, without its tenth of a second.)
declare -A PROCESS
process() { # POD: a process of its container
  local uid file; uid=$(k get pod "$1" -o 'jsonpath={.metadata.uid}')
  for file in $(grep -ls "$uid" /proc/[0-9]*/cgroup); do
    [ "$(cat "${file%/cgroup}/comm")" = peer ] && basename "${file%/cgroup}" && return
  done
}
inside() { local pod=$1; shift; PROCESS[$pod]=${PROCESS[$pod]:-$(process "$pod")}; nsenter --target "${PROCESS[$pod]}" --mount --net --uts "$@"; }
at() {
  local place=$1; shift
  case $place in
    machine) "$WORK/peer/peer" "$@" ;;
    neighbour) nsenter --net="/run/netns/$OUTSIDE" "$WORK/peer/peer" "$@" ;;
    *) inside "$place" /bin/peer "$@" ;;
  esac
}
# reach NAME EXPECTED PLACES PROTOCOL HOST PORT [TIMES]: who answers, asked from each place
reach() {
  local name=$1 expected=$2 places=$3 place; shift 3
  for place in $places; do is "$name ($place, $1)" "$expected" "$(at "$place" ask "$@")"; done
}
answers() { [ "$(at "$2" ask "${@:3}")" = "$1" ]; }
vip() { k get svc "$1" -o 'jsonpath={.spec.clusterIP}'; }
pod_ip() { k get pod "$1" -o 'jsonpath={.status.podIP}'; }
slices() { k get endpointslices -l "kubernetes.io/service-name=$1" -o "jsonpath={.items[*]$2}" | tr ' ' '\n' | sort | xargs; }
NODE=$(k get nodes -o 'jsonpath={.items[0].metadata.name}')
ONE=$(pod_ip one) TWO=$(pod_ip two) SET0=$(pod_ip set-0) SET1=$(pod_ip set-1) CLIENT=$(pod_ip client)
WEB=$(vip web) BOTH=$(vip both)

for pod in client one two on-node unready untold own-names more-names on-node-plain set-0; do PROCESS[$pod]=$(process "$pod"); done

HOSTNAME=beyond nsenter --net="/run/netns/$OUTSIDE" "$WORK/peer/peer" serve tcp:9000 >/dev/null & BEYOND=$!

say "cluster IPs"
reach "a named target port is another number in each pod" "one two" "machine client one two neighbour" tcp "$WEB" 80 24
is "…and each number has its slice" "8080 8081" "$(slices web .ports[0].port)"
is "pods are seen as they are" "$CLIENT" "$(k exec client -- peer from tcp "$BOTH" 53)"
holds "an endpoint that asks itself is not" "$(at one from tcp "$BOTH" 53)" != "$ONE"
for protocol in tcp udp; do reach "TCP and UDP have one port" one "machine client one" $protocol "$BOTH" 53; done
is "UDP shows the client, too" "$CLIENT" "$(at client from udp "$BOTH" 53)"
reach "a port the Service does not have is refused" refused "machine client" tcp "$WEB" 81
reach "a pod on the machine's network serves" "$NODE" "machine client on-node" tcp "$(vip on-node)" 80

say "node ports and external addresses"
reach "a node port on loopback" "one two" "machine on-node" tcp 127.0.0.1 30080 24
reach "a node port on the node's address" "one two" "machine client one neighbour" tcp 192.0.2.1 30080 24
for protocol in tcp udp; do
  reach "TCP and UDP have one node port, on loopback" one "machine on-node" $protocol 127.0.0.1 30053
  reach "TCP and UDP have one node port" one "machine client one neighbour" $protocol 192.0.2.1 30053
done
reach "an external address" "one two" "machine client one neighbour" tcp 203.0.113.5 80 24

say "affinity"
STICKY=$(vip sticky)
for place in machine client; do
  chosen=$(at $place ask tcp "$STICKY" 80 16)
  is "a client is always sent to the same pod ($place)" 1 "$(wc -w <<<"$chosen")"
done
other=$(k get pods -l app=crowd -o name | grep -v "/$chosen\$" | head -1)
check "another endpoint goes" k delete "$other"
reach "the client stays when others go" "$chosen" client tcp "$STICKY" 80 16
check "a successor comes" k rollout status deployment/crowd --timeout=60s
reach "the client stays when others come" "$chosen" client tcp "$STICKY" 80 16
check "the chosen one goes" k delete pod "$chosen"
next=$(at client ask tcp "$STICKY" 80 8)
is "the client is sent to one other" "1 yes" "$(wc -w <<<"$next") $([ "$next" = "$chosen" ] || echo yes)"
FORGETFUL=$(vip forgetful)
forgotten() { local before; before=$(at machine ask tcp "$FORGETFUL" 80); sleep 1.2; [ "$(at machine ask tcp "$FORGETFUL" 80)" != "$before" ]; }
eventually 30 "affinity ends with its time" forgotten

say "Services without selector, with slices or Endpoints by hand"
slice() { # SERVICE NODE HINT ADDRESS PORT [HOSTNAME]
  printf '{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"generateName": "%s-", "labels": {"kubernetes.io/service-name": "%s"}},
    "addressType": "IPv4", "ports": [{"name": "http", "port": %s, "protocol": "TCP"}], "endpoints": [{"addresses": ["%s"]%s%s%s}]}\n' "$1" "$1" "$5" "$4" \
    "${2:+, \"nodeName\": \"$2\"}" "${3:+, \"hints\": {\"forNodes\": [{\"name\": \"$3\"\}]\}}" "${6:+, \"hostname\": \"$6\"}"
}
{ slice far elsewhere '' "$ONE" 8080; slice near elsewhere '' "$TWO" 8080; slice near "$NODE" '' "$ONE" 8080
  slice preferred elsewhere elsewhere "$TWO" 8080; slice preferred "$NODE" "$NODE" "$ONE" 8080
  slice beyond '' '' 192.0.2.9 9000; slice manual '' '' "$ONE" 8080; slice manual '' '' "$TWO" 8081
  slice manual-headless '' '' 198.51.100.7 8080 db-0; slice manual-headless '' '' "$TWO" 8081; } >"$WORK/slices.json"
check "slices by hand" k create -f "$WORK/slices.json"
sed "s/ONE/$ONE/" >"$WORK/endpoints.yaml" <<'Y'
apiVersion: v1
kind: Endpoints
metadata: {name: legacy, labels: {mine: "yes"}}
subsets: [{addresses: [{ip: ONE, hostname: db-1}], notReadyAddresses: [{ip: 198.51.100.8}], ports: [{name: http, port: 8080}]}]
Y
check "Endpoints by hand" k apply -f "$WORK/endpoints.yaml"
eventually 10 "the last slice is in the kernel" answers one machine tcp "$(vip legacy)" 80
reach "slices by hand lead there" "one two" "machine client one" tcp "$(vip manual)" 80 24
reach "Endpoints by hand lead there" one "machine client one" tcp "$(vip legacy)" 80 12
is "Endpoints by hand are mirrored" "endpointslicemirroring-controller.k8s.io yes" "$(k get endpointslices -l kubernetes.io/service-name=legacy -o 'jsonpath={.items[*].metadata.labels.endpointslice\.kubernetes\.io/managed-by} {.items[*].metadata.labels.mine}')"
is "…ready addresses and others" "false true" "$(slices legacy .endpoints[*].conditions.ready)"
check "the Endpoints go" k delete endpoints legacy
eventually 10 "…and their slices" gone endpointslices -l kubernetes.io/service-name=legacy
reach "…and nothing answers" refused "machine client" tcp "$(vip legacy)" 80
check "the selector goes" k patch svc retired --type=json -p '[{"op": "remove", "path": "/spec/selector"}]'
check "a pod goes, too" k delete pod retired
is "its slices are left to people" retired "$(k get endpointslices -l kubernetes.io/service-name=retired,endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io -o 'jsonpath={.items[*].endpoints[*].targetRef.name}')"

say "Services that change"
reach "endpoints beyond the cluster" beyond "machine client neighbour" tcp "$(vip beyond)" 80
reach "…by node port" beyond "machine client neighbour" tcp 192.0.2.1 30083
CHANGING=$(vip changing)
reach "the first pod" one "machine client one" tcp "$CHANGING" 80 8
# changed NAME PATCH EXPECTED PORT: from everywhere, once the kernel has it
changed() { check "$1" k patch svc changing --type=merge -p "$2"; eventually 10 "…and it is so" answers "$3" machine tcp "$CHANGING" "$4"; reach "…for pods" "$3" "client one" tcp "$CHANGING" "$4" 12; }
changed "another selector" '{"spec": {"selector": {"version": "v2"}}}' two 80
changed "another target port" '{"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8081}]}}' two 80
changed "another port" '{"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "web"}]}}' two 81
reach "…and not the one before" refused "machine client" tcp "$CHANGING" 80
changed "affinity" '{"spec": {"sessionAffinity": "ClientIP"}}' two 81
changed "no affinity" '{"spec": {"sessionAffinity": "None", "sessionAffinityConfig": null}}' two 81
changed "a node port" '{"spec": {"type": "NodePort", "ports": [{"name": "http", "port": 81, "targetPort": "web", "nodePort": 30084}]}}' two 81
reach "…for all" two "machine client neighbour" tcp 192.0.2.1 30084
changed "no node port" '{"spec": {"type": "ClusterIP", "ports": [{"name": "http", "port": 81, "targetPort": "web"}]}}' two 81
reach "…for anybody" refused "machine client neighbour" tcp 192.0.2.1 30084
check "the Service goes" k delete svc changing
reach "…and its address is refused" refused "machine client one" tcp "$CHANGING" 81

say "policies that keep to the node"
reach "internalTrafficPolicy Local without an endpoint here: dropped" timeout "machine client" tcp "$(vip far)" 80
reach "externalTrafficPolicy Local without an endpoint here: dropped" timeout neighbour tcp 192.0.2.1 30081
reach "externalTrafficPolicy is for those outside" one "machine client" tcp 192.0.2.1 30081
reach "internalTrafficPolicy Local" one "machine client one" tcp "$(vip near)" 80 12
reach "externalTrafficPolicy Local" one neighbour tcp 192.0.2.1 30082 12
is "externalTrafficPolicy Local shows the client" 192.0.2.9 "$(at neighbour from tcp 192.0.2.1 30082)"
reach "trafficDistribution PreferSameNode" one "machine client one" tcp "$(vip preferred)" 80 12

say "what the machine remembers"
holds "connections that have ended are forgotten soon" "$(cat /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait)" -le 15

say "no endpoints: refused at once, until they come"
EMPTY=$(vip empty)
refused() {
  reach "refused: cluster IP" refused "machine client" tcp "$EMPTY" 80
  reach "refused: node port" refused "machine client neighbour" tcp 192.0.2.1 30090
  reach "refused: node port on loopback" refused "machine on-node" tcp 127.0.0.1 30090
  reach "refused: external address" refused "machine client neighbour" tcp 203.0.113.6 80
  reach "refused: cluster IP" refused client udp "$EMPTY" 80
  reach "refused: node port" refused client udp 192.0.2.1 30090
  reach "refused: external address" refused client udp 203.0.113.6 80
  # Linux sends one machine only so many refusals a second (icmp_ratelimit).
  eventually 5 "refused: node port (neighbour, udp)" answers refused neighbour udp 192.0.2.1 30090
  eventually 5 "refused: external address (neighbour, udp)" answers refused neighbour udp 203.0.113.6 80
  # Linux tells a program whose own datagram is rejected on its way out that it may not.
  reach "refused: cluster IP, the machine's own datagrams" denied machine udp "$EMPTY" 80
}
refused
check "a Service comes" k create service clusterip afterwards --tcp=80:8080
k run late --image=peer:v1 --image-pull-policy=Never --labels=app=late -- tcp:8080 udp:8080 >/dev/null
check "an endpoint comes" k wait pod/late --for=condition=Ready --timeout=30s
for protocol in tcp udp; do
  reach "reached as soon as it is Ready" late "machine client late" $protocol "$EMPTY" 80
  reach "…by its node port" late "machine client late neighbour" $protocol 192.0.2.1 30090
done
is "a Service that came later is not told" "" "$(k exec client -- env | grep ^AFTERWARDS || true)"
is "…but to pods that come after it" "AFTERWARDS_SERVICE_PORT=80" "$(k exec late -- env | grep ^AFTERWARDS_SERVICE_PORT=)"
check "the endpoint goes" k delete pod late --grace-period=1
refused

say "pods that are not ready"
reach "publishNotReadyAddresses" early "machine client unready" tcp "$(vip unready)" 80
reach "without it they are not reached" refused "machine client unready" tcp "$(vip strict)" 80
is "their conditions" "true false false" "$(k get endpointslices -l kubernetes.io/service-name=unready -o 'jsonpath={.items[0].endpoints[0].conditions.ready} {.items[0].endpoints[0].conditions.serving} {.items[0].endpoints[0].conditions.terminating}')"

say "names: the specification, asked with dig"
DNS=$(k exec client -- cat /etc/resolv.conf | awk '$1 == "nameserver" {print $2; exit}')
ask() { dig +time=3 +tries=1 "@$DNS" "$@"; }
d() { ask +short "$@" | sort | xargs; }
# What the answer's head says, and whether it says for how long "no" holds
code() { ask "$@" | awk '/status:/ {sub(",", "", $6); code = $6} /ANSWER: 0/ {none = 1} /\tSOA\t/ {soa = " SOA"} END {print code (none ? " none" : "") soa}'; }
D=default.svc.cluster.local
dashed() { tr . - <<<"$1"; }
reversed() { awk -F. '{print $4 "." $3 "." $2 "." $1 ".in-addr.arpa"}' <<<"$1"; }
sorted() { printf '%s\n' "$@" | sort | xargs; }
is "the version of the specification" '1.1.0' "$(d dns-version.cluster.local TXT)"
is "A of a Service" "$WEB" "$(d web.$D A)"
is "A of the API server" "$(vip kubernetes)" "$(d kubernetes.$D A)"
is "names have no case" "$WEB" "$(d WeB.Default.SVC.Cluster.Local A)"
check_out "…and come back as they were asked" "^WeB\.Default\.SVC\.Cluster\.Local\." ask +noall +answer WeB.Default.SVC.Cluster.Local A
check_out "answers may be kept for 5 s" "^web\.$D\.[[:space:]]+5[[:space:]]+IN[[:space:]]+A" ask +noall +answer web.$D A
is "SRV of a named port" "0 100 80 web.$D." "$(d _http._tcp.web.$D SRV)"
is "SRV has no case" "0 100 80 web.$D." "$(d _HTTP._TCP.web.$D SRV)"
check_out "SRV brings the address" "^web\.$D\..*A[[:space:]]+$WEB" ask +noall +additional _http._tcp.web.$D SRV
is "SRV of a UDP port" "0 100 53 both.$D." "$(d _dns._udp.both.$D SRV)"
is "no SRV under another protocol" "NXDOMAIN none SOA" "$(code _http._udp.web.$D SRV)"
is "PTR of a cluster IP" "web.$D." "$(d -x "$WEB")"
is "an endpoint has a name below its Service" "$ONE" "$(d "$(dashed "$ONE").web.$D" A)"
is "a name that exists has no AAAA" "NOERROR none SOA" "$(code web.$D AAAA)"
is "a name that does not exist" "NXDOMAIN none SOA" "$(code nope.$D A)"
is "…in a namespace that does not exist" "NXDOMAIN none SOA" "$(code web.nope.svc.cluster.local A)"
is "a namespace has no address" "NOERROR none SOA" "$(code $D A)"
is "the domain has no address" "NOERROR none SOA" "$(code cluster.local A)"
is "A of a pod's address" "$ONE" "$(d "$(dashed "$ONE").default.pod.cluster.local" A)"

say "names: headless Services"
is "A of all ready pods" "$(sorted "$SET0" "$SET1")" "$(d set.$D A)"
is "A of a pod by its hostname" "$SET0" "$(d set-0.set.$D A)"
is "SRV of all pods, each with its own number" "0 50 8080 set-0.set.$D. 0 50 8082 set-1.set.$D." "$(d _http._tcp.set.$D SRV)"
is "PTR of a pod" "set-0.set.$D." "$(d -x "$SET0" | tr ' ' '\n' | grep '\.set\.')"
is "PTR of an address that nobody has" "NXDOMAIN none SOA" "$(code -x "${ONE%.*}.250")"
is "without ports" "$(sorted "$SET0" "$SET1")" "$(d bare.$D A)"
is "slices are labelled headless" "set" "$(k get endpointslices -l service.kubernetes.io/headless,kubernetes.io/service-name=set -o 'jsonpath={.items[*].metadata.labels.kubernetes\.io/service-name}' | xargs -n1 | sort -u | xargs)"
is "without selector" "$(sorted 198.51.100.7 "$TWO")" "$(d manual-headless.$D A)"
is "…by hostname" 198.51.100.7 "$(d db-0.manual-headless.$D A)"
is "…by address" "$TWO" "$(d "$(dashed "$TWO").manual-headless.$D" A)"
is "…SRV" "0 50 8080 db-0.manual-headless.$D. 0 50 8081 $(dashed "$TWO").manual-headless.$D." "$(d _http._tcp.manual-headless.$D SRV)"
is "publishNotReadyAddresses" "$(pod_ip unready)" "$(d unready-headless.$D A)"
is "…with its name" "$(pod_ip unready)" "$(d early.unready-headless.$D A)"
is "without it there is no name" "NXDOMAIN none SOA" "$(code strict-headless.$D A)"
check "a pod of it is deleted" k delete pod set-1
is "it has left the name" "$SET0" "$(d set.$D A)"
is "…and its own is gone" "NXDOMAIN none SOA" "$(code set-1.set.$D A)"

say "names: long answers, other Services, other resolvers"
python3 - >"$WORK/many.json" <<'P'
import json
for part in range(3):
    endpoints = [{"addresses": [f"198.51.{100 + part}.{n}"]} for n in range(1, 101)]
    print(json.dumps({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": f"many-{part}", "labels": {
        "kubernetes.io/service-name": "many"}}, "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints}))
P
check "300 endpoints" k create -f "$WORK/many.json"
all() { [ "$(ask +short +tcp many.$D A | wc -l)" = 300 ]; }
eventually 10 "all of them over TCP" all
check_out "over UDP the answer is cut and says so" 'flags:[a-z ]* tc' ask +ignore +notcp many.$D A
check_out "…within 512 bytes for those who promise no more" 'MSG SIZE  rcvd: ([1-4]?[0-9]{1,2}|50[0-9]|51[0-2])$' ask +ignore +noedns many.$D A
check_out "…and within what they promise" 'MSG SIZE  rcvd: (1[01][0-9]{2}|12[0-2][0-9]|123[0-2])$' ask +ignore +bufsize=4096 many.$D A
is "dig comes again over TCP by itself" 300 "$(ask +short many.$D A | wc -l)"
is "ExternalName is a CNAME" "host.example." "$(d outside.$D CNAME)"
is "…and what it leads to" "192.0.2.53 host.example." "$(d outside.$D A)"
is "…into the cluster, too" "$(sorted "$WEB" web.$D.)" "$(d alias.$D A)"
is "ExternalName that looks like an address is no name" "NXDOMAIN none SOA" "$(code address.$D A)"
is "aliases in a circle come to an end" "circle.$D." "$(d circle.$D A | xargs -n1 | sort -u | xargs)"
is "…and nothing is the worse for it" "$WEB" "$(d web.$D A)"
reach "ExternalName leads to the Service" "one two" client tcp alias 80 24
is "names of others come from the machine's resolver" 192.0.2.53 "$(d host.example A)"
is "…over TCP as well" 100 "$(ask +short large.example A | wc -l)"
check_out "…which was asked over TCP then" '^tcp large.example' cat "$WORK/questions"
is "…their not being there, too" "NXDOMAIN none" "$(code absent.example A)"
printf 'nameserver 127.0.0.9\n' >"$WORK/resolv.conf"
heard() { [ "$(d host.example A)" = 192.0.2.53 ]; }
unheard() { [ "$(code host.example A)" = "SERVFAIL none" ]; }
eventually 10 "a machine that joins another network asks its resolvers" unheard
printf 'nameserver 192.0.2.1\nsearch corp.example\noptions timeout:1\n' >"$WORK/resolv.conf"
eventually 10 "…and those of the first one when it is back" heard
is "nothing of the cluster is asked there" "" "$(grep -v ' [a-z.]*example ' "$WORK/questions" || true)"

say "names: within pods"
short() { is "$1" "$2" "$(at client ask tcp "$3" "$4" 24)"; }
short "a Service of the same namespace" "one two" web 80
short "…of another" "$NODE" on-node.default 80
short "…up to svc" "one two" web.default.svc 80
short "…in full" "one two" web.$D 80
short "…in full, with its dot" "one two" web.$D. 80
short "a pod" set-0 set-0.set 8080
short "a name that does not exist" unknown nope 80
resolv() { inside "$1" /bin/cat /etc/resolv.conf | xargs; }
is "ClusterFirst" "search default.svc.cluster.local svc.cluster.local cluster.local corp.example nameserver $DNS options ndots:5" "$(resolv client)"
is "Default" "search corp.example nameserver 192.0.2.1 options timeout:1" "$(resolv untold)"
is "None" "search example nameserver 192.0.2.1 options ndots:1 edns0" "$(resolv own-names)"
is "dnsConfig" "search default.svc.cluster.local svc.cluster.local cluster.local corp.example kube-system.svc.cluster.local nameserver $DNS options ndots:2" "$(resolv more-names)"
is "ClusterFirstWithHostNet" "search default.svc.cluster.local svc.cluster.local cluster.local corp.example nameserver $DNS options ndots:5" "$(resolv on-node)"
is "ClusterFirst on the machine's network" "search corp.example nameserver 192.0.2.1 options timeout:1" "$(resolv on-node-plain)"
reach "its names work" "one two" on-node tcp web 80 24
check_out "hostAliases" "^192.0.2.99[[:space:]]+db.example[[:space:]]+db\$" k exec one -- cat /etc/hosts
check_out "the pod's own line" "^$ONE[[:space:]]+one\$" k exec one -- cat /etc/hosts
check_out "…with its subdomain" "^$SET0[[:space:]]+set-0.set.$D[[:space:]]+set-0\$" k exec set-0 -- cat /etc/hosts
is "hostname" set-0 "$(k exec set-0 -- hostname)"
is "setHostnameAsFQDN" "full.set.$D" "$(k exec full-name -- hostname)"

say "environment"
env_of() { k exec "$1" -- env | grep '^MYSQL_\|^X_' | sort; }
MYSQL=$(vip mysql)
diff - <(env_of client) <<E || fail "a Service in the environment"
MYSQL_PORT=tcp://$MYSQL:3306
MYSQL_PORT_33060_UDP=udp://$MYSQL:33060
MYSQL_PORT_33060_UDP_ADDR=$MYSQL
MYSQL_PORT_33060_UDP_PORT=33060
MYSQL_PORT_33060_UDP_PROTO=udp
MYSQL_PORT_3306_TCP=tcp://$MYSQL:3306
MYSQL_PORT_3306_TCP_ADDR=$MYSQL
MYSQL_PORT_3306_TCP_PORT=3306
MYSQL_PORT_3306_TCP_PROTO=tcp
MYSQL_SERVICE_HOST=$MYSQL
MYSQL_SERVICE_PORT=3306
MYSQL_SERVICE_PORT_SQL=3306
MYSQL_SERVICE_PORT_X_ADMIN=33060
E
pass "a Service in the environment"
is "enableServiceLinks: false" "" "$(env_of untold)"
is "…but for the API server" "KUBERNETES_SERVICE_HOST=$(vip kubernetes)" "$(k exec untold -- env | grep ^KUBERNETES_SERVICE_HOST=)"
is "headless Services are not told" "" "$(k exec client -- env | grep ^SET_ || true)"
done_all
