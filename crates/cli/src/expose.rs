//! `expose`: a Service for what selects pods (`kubectl/pkg/cmd/expose`, `kubectl/pkg/generate/versioned/service.go`).
use crate::connect::{Session, with_query};
use crate::dry_run::{DryRun, Mode};
use crate::error::{CliError, Result};
use crate::manifest::Files;
use crate::output::Output;
use crate::resource::Resources;
use crate::target::{self, Selection, Target};
use isopod_api::{schema, strategic};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// TYPE NAME or TYPE/NAME.
    words: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    dry_run: DryRun,
    #[command(flatten)]
    service: Wanted,
    /// Keep the object in its annotation, for later applies.
    #[arg(long)]
    save_config: bool,
    /// Who is noted as the author of fields.
    #[arg(long, default_value = "kubectl-expose")]
    field_manager: String,
    /// JSON that overrides parts of the Service.
    #[arg(long)]
    overrides: Option<String>,
    /// How: json, merge or strategic.
    #[arg(long, default_value = "merge", value_parser = ["json", "merge", "strategic"])]
    override_type: String,
}

/// What the person says of the Service; the rest comes from what is exposed.
#[derive(clap::Args, Debug, Default)]
struct Wanted {
    /// The Service's name.
    #[arg(long, default_value = "")]
    name: String,
    /// The Service's port, or several with commas.
    #[arg(long, default_value = "")]
    port: String,
    /// TCP, UDP or SCTP.
    #[arg(long, default_value = "")]
    protocol: String,
    /// Number or name of the containers' port.
    #[arg(long, alias = "container-port", default_value = "")]
    target_port: String,
    /// ClusterIP, NodePort, LoadBalancer or ExternalName.
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    kind: String,
    /// Which pods, such as app=web.
    #[arg(long, default_value = "")]
    selector: String,
    /// Labels of the Service.
    #[arg(short, long, default_value = "")]
    labels: String,
    /// A further address of the Service, which the network brings to a node.
    #[arg(long, default_value = "")]
    external_ip: String,
    /// The address to ask the load balancer for.
    #[arg(long, default_value = "")]
    load_balancer_ip: String,
    /// None or ClientIP.
    #[arg(long, default_value = "")]
    session_affinity: String,
    /// The Service's address; None makes it headless.
    #[arg(long, default_value = "")]
    cluster_ip: String,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    if args.words.is_empty() && args.files.is_empty() {
        return Err(CliError::usage("You must provide one or more resources by argument or filename."));
    }
    let mode = args.dry_run.mode()?;
    let (targets, mut errors) = target::fetch(session, &args.words, &Selection::default(), &args.files, false).await?;
    for target in targets {
        if let Err(error) = one(args, session, mode, &target).await {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(CliError::Many(errors)) }
}

async fn one(args: &Args, session: &Session, mode: Mode, target: &Target) -> Result<()> {
    let mut service = service(&args.service, target)?;
    if let Some(overrides) = &args.overrides {
        apply_overrides(&mut service, overrides, &args.override_type)?;
    }
    if args.save_config {
        let kept = format!("{service}\n");
        service["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = kept.into();
    }
    let label = format!("service/{}", service["metadata"]["name"].as_str().unwrap_or_default());
    let after = if mode == Mode::Client {
        if session.explicit {
            service["metadata"]["namespace"] = session.namespace.clone().into();
        }
        service
    } else {
        let services = Resources::new(session).find("services").await?.collection(Some(&session.namespace));
        let mut query = vec![("fieldManager", args.field_manager.as_str())];
        query.extend((mode == Mode::Server).then_some(("dryRun", "All")));
        session.post(&with_query(&services, &query), &service).await?
    };
    args.output.result(&label, &format!("exposed{}", mode.suffix()), &after)
}

fn apply_overrides(service: &mut Value, overrides: &str, how: &str) -> Result<()> {
    let patch: Value =
        serde_json::from_str(overrides).map_err(|e| CliError::usage(format!("error parsing overrides: {e}")))?;
    match how {
        "json" => {
            let patch: json_patch::Patch =
                serde_json::from_value(patch).map_err(|e| CliError::usage(format!("error parsing overrides: {e}")))?;
            json_patch::patch(service, &patch).map_err(|e| CliError::usage(e.to_string()))
        }
        "strategic" => {
            let ty = schema::builtin().kind("", "v1", "Service");
            let ty = ty.ok_or_else(|| CliError::usage("Services cannot be merged strategically"))?;
            *service = strategic::merge(service.take(), patch, ty).map_err(|e| CliError::usage(e.to_string()))?;
            Ok(())
        }
        _ => {
            json_patch::merge(service, &patch);
            Ok(())
        }
    }
}

/// The Service for an object. Pure.
fn service(wanted: &Wanted, target: &Target) -> Result<Value> {
    let object = &target.object;
    if !matches!(
        target.resource.kind.as_str(),
        "ReplicationController" | "Service" | "Pod" | "Deployment" | "ReplicaSet"
    ) {
        let kind = &target.resource.kind;
        let group =
            if target.resource.group.is_empty() { String::new() } else { format!(".{}", target.resource.group) };
        return Err(CliError::usage(format!("cannot expose a {kind}{group}")));
    }
    let selector = if wanted.selector.is_empty() {
        selector(&target.resource.kind, object).map_err(|e| {
            CliError::usage(format!("couldn't retrieve selectors via --selector flag or introspection: {e}"))
        })?
    } else {
        pairs(&wanted.selector)?
    };
    let open = open_ports(&target.resource.kind, object);
    let numbers = if wanted.port.is_empty() {
        if open.is_empty() && wanted.cluster_ip != "None" {
            return Err(CliError::usage("couldn't find port via --port flag or introspection"));
        }
        open.iter().map(|(port, _)| port.to_string()).collect()
    } else {
        wanted.port.split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    let labels = if wanted.labels.is_empty() {
        object["metadata"]["labels"].as_object().cloned().unwrap_or_default()
    } else {
        pairs(&wanted.labels)?
    };
    let name = if wanted.name.is_empty() { target.name.chars().take(63).collect() } else { wanted.name.clone() };
    let mut metadata = json!({ "name": name });
    if !labels.is_empty() {
        metadata["labels"] = labels.into();
    }
    let mut spec = json!({ "selector": selector });
    let ports = ports(wanted, &numbers, &open)?;
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    details(wanted, &mut spec)?;
    Ok(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}),
    )
}

fn details(wanted: &Wanted, spec: &mut Value) -> Result<()> {
    if !wanted.external_ip.is_empty() {
        spec["externalIPs"] = json!([wanted.external_ip]);
    }
    if !wanted.kind.is_empty() {
        spec["type"] = wanted.kind.clone().into();
    }
    if wanted.kind == "LoadBalancer" && !wanted.load_balancer_ip.is_empty() {
        spec["loadBalancerIP"] = wanted.load_balancer_ip.clone().into();
    }
    match wanted.session_affinity.as_str() {
        "" => {}
        "None" | "ClientIP" => spec["sessionAffinity"] = wanted.session_affinity.clone().into(),
        other => return Err(CliError::usage(format!("unknown session affinity: {other}"))),
    }
    if !wanted.cluster_ip.is_empty() {
        spec["clusterIP"] = wanted.cluster_ip.clone().into();
    }
    Ok(())
}

fn ports(wanted: &Wanted, numbers: &[String], open: &[(i64, String)]) -> Result<Vec<Value>> {
    // The last one counts, where a port is open for two protocols.
    let protocols: BTreeMap<String, &str> = open.iter().map(|(port, p)| (port.to_string(), p.as_str())).collect();
    let mut ports = Vec::new();
    for (i, text) in numbers.iter().enumerate() {
        let number: i64 =
            text.parse().map_err(|_| CliError::usage(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?;
        let protocol = match wanted.protocol.as_str() {
            "" => protocols.get(text).copied().unwrap_or("TCP"),
            said => said,
        };
        let target: Value = match wanted.target_port.as_str() {
            "" => number.into(),
            said => said.parse::<i64>().map_or_else(|_| said.into(), Value::from),
        };
        let mut port = json!({"port": number, "protocol": protocol, "targetPort": target});
        if numbers.len() > 1 {
            port["name"] = format!("port-{}", i + 1).into();
        }
        ports.push(port);
    }
    Ok(ports)
}

/// `a=b,c=d`, as `generate.ParseLabels` reads it.
fn pairs(text: &str) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=').filter(|(key, value)| !key.is_empty() && !value.contains('='))
        else {
            return Err(CliError::usage(format!("unexpected label spec: {pair}")));
        };
        all.insert(key.to_owned(), value.into());
    }
    Ok(all)
}

/// `MapBasedSelectorForObject`
fn selector(kind: &str, object: &Value) -> std::result::Result<Map<String, Value>, String> {
    let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (found, nothing) = match kind {
        "ReplicationController" => (map(&object["spec"]["selector"]), ""),
        "Pod" => (map(&object["metadata"]["labels"]), "the pod has no labels and cannot be exposed"),
        "Service" => (map(&object["spec"]["selector"]), "the service has no pod selector set"),
        _ => {
            let expressions = object["spec"]["selector"]["matchExpressions"].as_array().filter(|e| !e.is_empty());
            if let Some(expressions) = expressions {
                let text = crate::rollout::selector_text(&json!({"matchExpressions": expressions}));
                return Err(format!("couldn't convert expressions - \"{text}\" to map-based selector format"));
            }
            (map(&object["spec"]["selector"]["matchLabels"]), "invalid deployment without selectors")
        }
    };
    if found.is_empty() && !nothing.is_empty() { Err(nothing.to_owned()) } else { Ok(found) }
}

/// Number and protocol of all open ports, in order.
fn open_ports(kind: &str, object: &Value) -> Vec<(i64, String)> {
    let protocol = |port: &Value| port["protocol"].as_str().filter(|p| !p.is_empty()).unwrap_or("TCP").to_owned();
    if kind == "Service" {
        let ports = object["spec"]["ports"].as_array().into_iter().flatten();
        return ports.filter_map(|p| Some((p["port"].as_i64()?, protocol(p)))).collect();
    }
    let spec = if kind == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
    let containers = spec["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    ports.filter_map(|p| Some((p["containerPort"].as_i64()?, protocol(p)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        wanted: Wanted,
    }

    fn exposed(flags: &str, kind: &str, object: Value) -> String {
        let wanted = Line::try_parse_from(std::iter::once("expose").chain(flags.split_whitespace())).unwrap().wanted;
        let resource = crate::resource::builtin().into_iter().find(|r| r.kind == kind).unwrap();
        match service(&wanted, &Target::from_object(resource, object, "default")) {
            Ok(service) => format!("{} {}", service["metadata"], service["spec"]),
            Err(error) => error.to_string(),
        }
    }

    fn deployment(ports: Value) -> Value {
        json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"ports": ports}]}}}})
    }

    #[test]
    fn what_is_not_said_comes_from_the_object() {
        let one = || deployment(json!([{"containerPort": 80}]));
        let two =
            || deployment(json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]));
        let none = || deployment(json!([]));
        let cases = [
            (
                "",
                "Deployment",
                one(),
                r#"{"labels":{"a":"b"},"name":"web"} {"ports":[{"port":80,"protocol":"TCP","targetPort":80}],"selector":{"app":"web"}}"#,
            ),
            (
                "",
                "Deployment",
                two(),
                r#"{"labels":{"a":"b"},"name":"web"} {"ports":[{"name":"port-1","port":80,"protocol":"TCP","targetPort":80},{"name":"port-2","port":53,"protocol":"UDP","targetPort":53}],"selector":{"app":"web"}}"#,
            ),
            (
                "--port=8080 --target-port=http --name=x -l k=v --type=NodePort",
                "Deployment",
                one(),
                r#"{"labels":{"k":"v"},"name":"x"} {"ports":[{"port":8080,"protocol":"TCP","targetPort":"http"}],"selector":{"app":"web"},"type":"NodePort"}"#,
            ),
            (
                "--cluster-ip=None",
                "Deployment",
                none(),
                r#"{"labels":{"a":"b"},"name":"web"} {"clusterIP":"None","selector":{"app":"web"}}"#,
            ),
            (
                "--port=1 --selector=x=y --session-affinity=ClientIP --external-ip=192.0.2.1",
                "Deployment",
                none(),
                r#"{"labels":{"a":"b"},"name":"web"} {"externalIPs":["192.0.2.1"],"ports":[{"port":1,"protocol":"TCP","targetPort":1}],"selector":{"x":"y"},"sessionAffinity":"ClientIP"}"#,
            ),
            (
                "--port=9",
                "Pod",
                json!({"metadata": {"name": "p", "labels": {"l": "1"}}}),
                r#"{"labels":{"l":"1"},"name":"p"} {"ports":[{"port":9,"protocol":"TCP","targetPort":9}],"selector":{"l":"1"}}"#,
            ),
            (
                "--name=s2",
                "Service",
                json!({"metadata": {"name": "s"}, "spec": {"selector": {"l": "1"}, "ports": [{"port": 5, "protocol": "UDP"}]}}),
                r#"{"name":"s2"} {"ports":[{"port":5,"protocol":"UDP","targetPort":5}],"selector":{"l":"1"}}"#,
            ),
            ("", "Deployment", none(), "error: couldn't find port via --port flag or introspection"),
            ("--port=x", "Deployment", none(), "error: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("--port=1 --session-affinity=no", "Deployment", none(), "error: unknown session affinity: no"),
            (
                "--port=1",
                "Pod",
                json!({"metadata": {"name": "p"}}),
                "error: couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed",
            ),
            ("--port=1", "ConfigMap", json!({"metadata": {"name": "p"}}), "error: cannot expose a ConfigMap"),
        ];
        for (flags, kind, object, expected) in cases {
            assert_eq!(exposed(flags, kind, object), expected, "{flags}");
        }
    }
}
