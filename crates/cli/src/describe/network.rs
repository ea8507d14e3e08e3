//! How pods are reached: Services, their endpoints, Ingresses, NetworkPolicies.
use super::Describer;
use super::text::{Text, date, items, joined, moment, name, number, selector, text, text_or};
use crate::connect::with_query;
use crate::error::Result;
use serde_json::Value;

/// How many endpoints are named one by one.
const SHOWN: usize = 3;

async fn slices(d: &Describer<'_>, namespace: &str, service: &str) -> Result<Vec<Value>> {
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let chosen = format!("kubernetes.io/service-name={service}");
    let list = d.session.get(&with_query(&path, &[("labelSelector", &chosen)])).await?;
    Ok(items(&list["items"]).to_vec())
}

/// `10.0.0.1:80,10.0.0.2:80 + 3 more...`; `port` is the one meant, by name.
fn endpoints(slices: &[Value], port: Option<&str>) -> String {
    if slices.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for slice in slices {
        for known in items(&slice["ports"]).iter().filter(|p| port.is_none_or(|port| text(&p["name"]) == port)) {
            let ready = items(&slice["endpoints"]).iter().filter(|e| e["conditions"]["ready"] != false);
            all.extend(ready.map(|e| {
                let address = text(&e["addresses"][0]);
                let address = if address.contains(':') { format!("[{address}]") } else { address };
                format!("{address}:{}", number(&known["port"]))
            }));
        }
    }
    let shown = all.get(..SHOWN.min(all.len())).unwrap_or_default().join(",");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

pub async fn service(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let spec = &o["spec"];
    let list = |value: &Value| items(value).iter().map(text).collect::<Vec<_>>().join(",");
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    out.head(o);
    out.field(0, "Selector", &joined(&spec["selector"]));
    out.field(0, "Type", &text(&spec["type"]));
    out.some(0, "IP Family Policy", &spec["ipFamilyPolicy"]);
    out.field(0, "IP Families", &or_none(list(&spec["ipFamilies"])));
    out.field(0, "IP", &text(&spec["clusterIP"]));
    out.field(0, "IPs", &or_none(list(&spec["clusterIPs"])));
    out.some(0, "External IPs", &list(&spec["externalIPs"]).into());
    out.some(0, "Desired LoadBalancer IP", &spec["loadBalancerIP"]);
    let balancers: Vec<String> = items(&o["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|i| {
            let mode = i["ipMode"].as_str().map(|m| format!(" ({m})")).unwrap_or_default();
            format!("{}{mode}", text_or(&i["ip"], &text(&i["hostname"])))
        })
        .collect();
    out.some(0, "LoadBalancer Ingress", &balancers.join(", ").into());
    out.some(0, "External Name", &spec["externalName"]);
    let slices = slices(d, &text(&o["metadata"]["namespace"]), &name(o)).await?;
    for port in items(&spec["ports"]) {
        let (title, protocol) = (text_or(&port["name"], "<unset>"), text(&port["protocol"]));
        out.field(0, "Port", &format!("{title}\t{}/{protocol}", number(&port["port"])));
        out.field(0, "TargetPort", &format!("{}/{protocol}", text(&port["targetPort"])));
        if number(&port["nodePort"]) != 0 {
            out.field(0, "NodePort", &format!("{title}\t{}/{protocol}", number(&port["nodePort"])));
        }
        out.field(0, "Endpoints", &endpoints(&slices, Some(&text(&port["name"]))));
    }
    out.field(0, "Session Affinity", &text(&spec["sessionAffinity"]));
    out.some(0, "External Traffic Policy", &spec["externalTrafficPolicy"]);
    out.some(0, "Internal Traffic Policy", &spec["internalTrafficPolicy"]);
    out.some(0, "Traffic Distribution", &spec["trafficDistribution"]);
    out.some(0, "HealthCheck NodePort", &spec["healthCheckNodePort"]);
    out.some(0, "LoadBalancer Source Ranges", &list(&spec["loadBalancerSourceRanges"]).into());
    Ok(())
}

pub fn endpoints_object(out: &mut Text, o: &Value) {
    out.head(o);
    out.line(0, "Subsets:");
    for subset in items(&o["subsets"]) {
        for (title, field) in [("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")] {
            let all: Vec<String> = items(&subset[field]).iter().map(|a| text(&a["ip"])).collect();
            out.field(1, title, &if all.is_empty() { "<none>".into() } else { all.join(",") });
        }
        let ports = items(&subset["ports"]);
        if !ports.is_empty() {
            out.line(1, "Ports:");
            port_table(out, 2, ports);
        }
        out.line(0, "");
    }
}

fn port_table(out: &mut Text, level: usize, ports: &[Value]) {
    out.line(level, "Name\tPort\tProtocol");
    out.line(level, "----\t----\t--------");
    for port in ports {
        let port_name = text_or(&port["name"], "<unset>");
        out.line(level, &format!("{port_name}\t{}\t{}", text_or(&port["port"], "<unset>"), text(&port["protocol"])));
    }
}

pub fn endpoint_slice(out: &mut Text, o: &Value) {
    out.head(o);
    out.field(0, "AddressType", &text(&o["addressType"]));
    let ports = items(&o["ports"]);
    if ports.is_empty() {
        out.line(0, "Ports: <unset>");
    } else {
        out.line(0, "Ports:");
        port_table(out, 1, ports);
    }
    let all = items(&o["endpoints"]);
    if all.is_empty() {
        out.line(0, "Endpoints: <none>");
        return;
    }
    out.line(0, "Endpoints:");
    for endpoint in all {
        let addresses: Vec<String> = items(&endpoint["addresses"]).iter().map(text).collect();
        out.field(1, "- Addresses", &addresses.join(", "));
        out.line(2, "Conditions:");
        out.field(3, "Ready", &text_or(&endpoint["conditions"]["ready"], "<unset>"));
        out.field(2, "Hostname", &text_or(&endpoint["hostname"], "<unset>"));
        let target = &endpoint["targetRef"];
        if target.is_object() {
            out.field(2, "TargetRef", &format!("{}/{}", text(&target["kind"]), text(&target["name"])));
        }
        out.field(2, "NodeName", &text_or(&endpoint["nodeName"], "<unset>"));
        out.field(2, "Zone", &text_or(&endpoint["zone"], "<unset>"));
    }
}

pub async fn ingress(d: &Describer<'_>, out: &mut Text, o: &Value) -> Result<()> {
    let spec = &o["spec"];
    let namespace = text(&o["metadata"]["namespace"]);
    out.field(0, "Name", &name(o));
    out.labels("Labels", &o["metadata"]["labels"]);
    out.field(0, "Namespace", &namespace);
    let addresses: Vec<String> = items(&o["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|i| text_or(&i["ip"], &text(&i["hostname"])))
        .collect();
    out.field(0, "Address", &addresses.join(","));
    out.field(0, "Ingress Class", &text_or(&spec["ingressClassName"], "<none>"));
    let default = &spec["defaultBackend"];
    let shown = if default.is_object() { backend(d, &namespace, default).await? } else { "<default>".into() };
    out.field(0, "Default backend", &shown);
    let certificates = items(&spec["tls"]);
    if !certificates.is_empty() {
        out.line(0, "TLS:");
        for tls in certificates {
            let hosts: Vec<String> = items(&tls["hosts"]).iter().map(text).collect();
            let secret = text(&tls["secretName"]);
            out.line(
                1,
                &match (secret.is_empty(), hosts.join(",")) {
                    (true, hosts) => format!("SNI routes {hosts}"),
                    (false, hosts) => format!("{secret} terminates {hosts}"),
                },
            );
        }
    }
    out.line(0, "Rules:\n  Host\tPath\tBackends");
    out.line(1, "----\t----\t--------");
    let rules = items(&spec["rules"]);
    if rules.is_empty() {
        out.line(1, &format!("*\t*\t{shown}"));
    }
    for rule in rules {
        out.line(1, &format!("{}\t", text_or(&rule["host"], "*")));
        for path in items(&rule["http"]["paths"]) {
            let target = backend(d, &namespace, &path["backend"]).await?;
            out.line(1, &format!("\t{} \t{target}", text(&path["path"])));
        }
    }
    out.annotations("Annotations", &o["metadata"]["annotations"]);
    Ok(())
}

/// `web:80 (10.0.0.1:8080)`, or why there is nothing behind it.
async fn backend(d: &Describer<'_>, namespace: &str, backend: &Value) -> Result<String> {
    let resource = &backend["resource"];
    if resource.is_object() {
        let group = text_or(&resource["apiGroup"], "<none>");
        return Ok(format!("APIGroup: {group}, Kind: {}, Name: {}", text(&resource["kind"]), text(&resource["name"])));
    }
    let (service, wanted) = (text(&backend["service"]["name"]), &backend["service"]["port"]);
    let shown = text_or(&wanted["name"], &text(&wanted["number"]));
    let object = match d.session.get(&format!("/api/v1/namespaces/{namespace}/services/{service}")).await {
        Ok(object) => object,
        Err(error) if error.is_not_found() => {
            return Ok(format!("{service}:{shown} (<error: services {service:?} not found>)"));
        }
        Err(error) => return Err(error),
    };
    let is = |p: &&Value| {
        p["name"] == wanted["name"] && p["name"].is_string() || p["port"] == wanted["number"] && p["port"].is_number()
    };
    let port = items(&object["spec"]["ports"]).iter().find(is).map(|p| text(&p["name"]));
    let slices = slices(d, namespace, &service).await?;
    Ok(format!("{service}:{shown} ({})", endpoints(&slices, Some(port.as_deref().unwrap_or("\0")))))
}

pub fn network_policy(out: &mut Text, o: &Value) {
    let spec = &o["spec"];
    out.field(0, "Name", &name(o));
    out.field(0, "Namespace", &text(&o["metadata"]["namespace"]));
    let created =
        moment(&o["metadata"]["creationTimestamp"]).map(|m| m.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string());
    out.field(0, "Created on", &created.unwrap_or_else(|| date(&Value::Null)));
    out.marks(o);
    out.line(0, "Spec:");
    let chosen = selector(&spec["podSelector"]);
    let everything = "<none> (Allowing the specific traffic to all pods in this namespace)".to_owned();
    out.line(
        1,
        &format!("PodSelector: {}", if chosen == "<none>" { everything } else { chosen }).replacen(
            "PodSelector: ",
            "PodSelector:     ",
            1,
        ),
    );
    let types: Vec<String> = items(&spec["policyTypes"]).iter().map(text).collect();
    for (kind, what, field, peers, word) in
        [("Ingress", "ingress", "ingress", "from", "From"), ("Egress", "egress", "egress", "to", "To")]
    {
        if types.iter().any(|t| t == kind) {
            out.line(1, &format!("Allowing {what} traffic:"));
            rules(out, items(&spec[field]), what, peers, word);
        } else {
            out.line(1, &format!("Not affecting {what} traffic"));
        }
    }
    out.line(1, &format!("Policy Types: {}", types.join(", ")));
}

fn rules(out: &mut Text, rules: &[Value], what: &str, peers: &str, word: &str) {
    if rules.is_empty() {
        out.line(2, &format!("<none> (Selected pods are isolated for {what} connectivity)"));
        return;
    }
    for (i, rule) in rules.iter().enumerate() {
        let ports = items(&rule["ports"]);
        if ports.is_empty() {
            out.line(2, "To Port: <any> (traffic allowed to all ports)");
        }
        for port in ports {
            out.line(2, &format!("To Port: {}/{}", text_or(&port["port"], "<any>"), text_or(&port["protocol"], "TCP")));
        }
        let all = items(&rule[peers]);
        if all.is_empty() {
            out.line(
                2,
                &format!(
                    "{word}: <any> (traffic not restricted by {})",
                    if word == "From" { "source" } else { "destination" }
                ),
            );
        }
        for peer in all {
            out.line(2, &format!("{word}:"));
            let block = &peer["ipBlock"];
            if block.is_object() {
                out.line(3, "IPBlock:");
                out.line(4, &format!("CIDR: {}", text(&block["cidr"])));
                let except: Vec<String> = items(&block["except"]).iter().map(text).collect();
                out.line(4, &format!("Except: {}", except.join(", ")));
            } else {
                for (title, field) in [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")] {
                    if peer[field].is_object() {
                        out.line(3, &format!("{title}: {}", selector(&peer[field])));
                    }
                }
            }
        }
        if i + 1 < rules.len() {
            out.line(2, "----------");
        }
    }
}
