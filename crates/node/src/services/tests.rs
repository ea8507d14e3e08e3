//! Services and slices as manifests, ports as text; and the programmer against mirrors that are fed by hand.
use super::topology::Here;
use super::translate;
use isopod_network::contract::{PortName, ServicePort};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use std::sync::Arc;

fn service(spec: &Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec})).unwrap()
}

fn slice(ports: &Value, endpoints: &Value) -> Arc<EndpointSlice> {
    let slice = json!({"metadata": {"name": "web-1", "namespace": "default"}, "addressType": "IPv4", "ports": ports,
        "endpoints": endpoints});
    Arc::new(serde_json::from_value(slice).unwrap())
}

fn here() -> Here {
    Here { node: "here".into(), zone: Some("a".into()) }
}

/// One line a port, one word for each thing that is not the default.
fn text(service: &Service, slices: &[Arc<EndpointSlice>]) -> String {
    let ports = translate::ports(service, slices, &here());
    ports.iter().map(|(name, port)| line(name, port)).collect::<Vec<_>>().join("\n")
}

fn line(name: &PortName, port: &ServicePort) -> String {
    let mut words = vec![
        format!("{}/{:?}", name.port, name.protocol).to_lowercase(),
        format!("{:?}:{}", port.cluster_ips, port.port),
    ];
    words.extend(port.node_port.map(|p| format!("node {p}")));
    let lists = [("external", &port.external_ips), ("balancer", &port.load_balancer_ips)];
    words.extend(lists.iter().filter(|(_, ips)| !ips.is_empty()).map(|(what, ips)| format!("{what} {ips:?}")));
    words.extend(
        (!port.load_balancer_source_ranges.is_empty()).then(|| format!("from {:?}", port.load_balancer_source_ranges)),
    );
    words.extend(port.affinity.map(|a| format!("affinity {a:?}")));
    words.extend(port.internal_local.then(|| "internal-local".to_owned()));
    words.extend(port.external_local.then(|| "external-local".to_owned()));
    words.push("→".to_owned());
    words.extend(port.endpoints.iter().map(|e| {
        let flags = [(e.local, 'l'), (e.ready, 'r'), (e.serving, 's'), (e.terminating, 't')];
        format!("{}/{}", e.address, flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag).collect::<String>())
    }));
    words.join(" ")
}

#[test]
fn ports_and_slices_meet_by_name() {
    let service =
        service(&json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": [
        {"name": "http", "port": 80, "targetPort": "web"}, {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53}, {"name": "sig", "port": 9, "protocol": "SCTP"}]}));
    // a named target port has another number in other pods: another slice
    let one = slice(
        &json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
        &json!([{"addresses": ["10.1.0.2", "10.1.0.99"], "nodeName": "here", "conditions": {"ready": true}},
                {"addresses": ["10.1.1.3"], "nodeName": "there", "conditions": {"ready": false, "serving": true, "terminating": true}}]),
    );
    let two = slice(
        &json!([{"name": "http", "port": 8081, "protocol": "TCP"}, {"name": "dns", "port": null, "protocol": "UDP"}]),
        &json!([{"addresses": ["10.1.0.4"]}, {"addresses": []}, {"addresses": ["example.org"]}]),
    );
    insta::assert_snapshot!(text(&service, &[one, two]), @r"
    dns/udp [10.96.0.7]:53 → 10.1.0.2:5353/lrs 10.1.1.3:5353/st
    dns-tcp/tcp [10.96.0.7]:53 →
    http/tcp [10.96.0.7]:80 → 10.1.0.2:8080/lrs 10.1.0.4:8081/rs 10.1.1.3:8080/st
    sig/sctp [10.96.0.7]:9 →
    ");
}

#[test]
fn addresses_from_outside() {
    let mut balanced =
        service(&json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "externalIPs": ["203.0.113.1"],
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
        "loadBalancerSourceRanges": [" 198.51.100.0/24"], "ports": [{"port": 80, "nodePort": 30080}]}));
    let ingress = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.2", "ipMode": "VIP"}, {"ip": "203.0.113.3", "ipMode": "Proxy"},
        {"hostname": "example.org"}, {"ip": "203.0.113.4"}]}});
    balanced.status = serde_json::from_value(ingress).unwrap();
    let first = text(&balanced, &[]);
    let spec = balanced.spec.as_mut().unwrap();
    spec.load_balancer_source_ranges = None;
    spec.session_affinity_config = serde_json::from_value(json!({"clientIP": {"timeoutSeconds": 60}})).unwrap();
    let range =
        ("service.beta.kubernetes.io/load-balancer-source-ranges".to_owned(), "10.0.0.0/8, 172.16.0.0/12".to_owned());
    balanced.metadata.annotations = Some([range].into());
    let second = text(&balanced, &[]);
    // the same fields on a Service that is not reached from outside
    balanced.spec.as_mut().unwrap().type_ = Some("ClusterIP".into());
    balanced.spec.as_mut().unwrap().external_ips = None;
    insta::assert_snapshot!([first, second, text(&balanced, &[])].join("\n"), @r#"
    /tcp [10.96.0.7]:80 node 30080 external [203.0.113.1] balancer [203.0.113.2, 203.0.113.4] from ["198.51.100.0/24"] affinity 10800s internal-local external-local →
    /tcp [10.96.0.7]:80 node 30080 external [203.0.113.1] balancer [203.0.113.2, 203.0.113.4] from ["10.0.0.0/8", "172.16.0.0/12"] affinity 60s internal-local external-local →
    /tcp [10.96.0.7]:80 from ["10.0.0.0/8", "172.16.0.0/12"] affinity 60s internal-local →
    "#);
}

#[test]
fn services_that_have_no_rules() {
    let slices = [slice(&json!([{"name": "", "port": 80}]), &json!([{"addresses": ["10.1.0.2"]}]))];
    let ports = json!([{"port": 80}]);
    let mut own = service(&json!({"clusterIP": "10.96.0.7", "ports": ports}));
    assert_eq!(text(&own, &slices), "/tcp [10.96.0.7]:80 → 10.1.0.2:80/rs", "the control");
    for label in ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"] {
        own.metadata.labels = Some([(label.to_owned(), String::new())].into());
        assert_eq!(text(&own, &slices), "", "{label}");
    }
    for spec in [
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": ports}),
        json!({"type": "ExternalName", "externalName": "example.org", "ports": ports}),
        json!({"clusterIP": "", "ports": ports}),
        json!({"clusterIP": "10.96.0.7", "ports": [{"port": 0}, {"port": 70_000}, {"port": 80, "protocol": "QUIC"}]}),
    ] {
        assert_eq!(text(&service(&spec), &slices), "", "{spec}");
    }
}

#[test]
fn an_endpoint_in_two_slices_counts_once() {
    let own = service(&json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}));
    let ports = json!([{"port": 8080}]);
    let at = |conditions: Value| slice(&ports, &json!([{"addresses": ["10.1.0.2"], "conditions": conditions}]));
    let (ready, leaving) =
        (at(json!({"ready": true})), at(json!({"ready": false, "serving": true, "terminating": true})));
    let expected = "/tcp [10.96.0.7]:80 → 10.1.0.2:8080/rs";
    assert_eq!(text(&own, &[Arc::clone(&ready), Arc::clone(&leaving)]), expected);
    assert_eq!(text(&own, &[leaving, ready]), expected);
}

#[test]
fn hints_choose_for_each_policy() {
    let ports = json!([{"port": 8080}]);
    let slices = [slice(
        &ports,
        &json!([{"addresses": ["10.1.0.2"], "nodeName": "here", "hints": {"forZones": [{"name": "b"}]}},
                {"addresses": ["10.1.1.3"], "nodeName": "there", "hints": {"forZones": [{"name": "a"}]}},
                {"addresses": ["10.1.1.4"], "nodeName": "there", "hints": {"forZones": [{"name": "b"}]}}]),
    )];
    let own = service(&json!({"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}));
    assert_eq!(text(&own, &slices), "/tcp [10.96.0.7]:80 → 10.1.1.3:8080/rs");
    let kept = service(&json!({"clusterIP": "10.96.0.7", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]}));
    assert_eq!(text(&kept, &slices), "/tcp [10.96.0.7]:80 internal-local → 10.1.0.2:8080/lrs 10.1.1.3:8080/rs");
}
