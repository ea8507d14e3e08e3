//! Containers of a pod or a pod template: image, ports, state, resources, probes, environment, mounts.
use super::text::{Text, date, items, name, number, text, text_or, truth};
use isopod_api::quantity::Quantity;
use serde_json::Value;

/// Containers of one list. With a pod their state is told, and what their environment refers to.
pub fn all(out: &mut Text, title: &str, containers: &[Value], statuses: &[Value], pod: Option<&Value>) {
    let space = if pod.is_some() { "" } else { "  " };
    let none = if containers.is_empty() { " <none>" } else { "" };
    out.line(0, &format!("{space}{title}:{none}"));
    for container in containers {
        let status = statuses.iter().find(|s| s["name"] == container["name"]);
        let indent = if pod.is_some() { "" } else { " " };
        out.line(1, &format!("{indent}{}:", text(&container["name"])));
        one(out, container, status, pod);
    }
}

fn one(out: &mut Text, c: &Value, status: Option<&Value>, pod: Option<&Value>) {
    if let Some(status) = status {
        out.field(2, "Container ID", &text(&status["containerID"]));
    }
    out.field(2, "Image", &text(&c["image"]));
    if let Some(status) = status {
        out.field(2, "Image ID", &text(&status["imageID"]));
    }
    ports(out, c);
    seccomp(out, 2, &c["securityContext"]["seccompProfile"]);
    words(out, "Command", &c["command"]);
    words(out, "Args", &c["args"]);
    if let Some(status) = status {
        state(out, "State", &status["state"]);
        if status["lastState"]["terminated"].is_object() {
            state(out, "Last State", &status["lastState"]);
        }
        out.field(2, "Ready", truth(&status["ready"]));
        out.field(2, "Restart Count", &number(&status["restartCount"]).to_string());
    }
    resources(out, 2, &c["resources"]);
    for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if c[field].is_object() {
            out.field(2, title, &probe(&c[field]));
        }
    }
    environment_from(out, c);
    environment(out, c, pod);
    mounts(out, c);
}

fn ports(out: &mut Text, c: &Value) {
    let all = items(&c["ports"]);
    for (title, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let shown: Vec<String> = all
            .iter()
            .map(|p| {
                let name = p["name"].as_str().map(|n| format!(" ({n})")).unwrap_or_default();
                format!("{}/{}{name}", number(&p[field]), text_or(&p["protocol"], "TCP"))
            })
            .collect();
        match shown.len() {
            0 => out.field(2, title, "<none>"),
            1 => out.field(2, title, &shown.join("")),
            _ => out.field(2, &format!("{title}s"), &shown.join(", ")),
        }
    }
}

pub fn seccomp(out: &mut Text, level: usize, profile: &Value) {
    if profile.is_object() {
        out.field(level, "SeccompProfile", &text(&profile["type"]));
        if profile["type"] == "Localhost" {
            out.some(level, "LocalhostProfile", &profile["localhostProfile"]);
        }
    }
}

fn words(out: &mut Text, title: &str, words: &Value) {
    if items(words).is_empty() {
        return;
    }
    out.line(2, &format!("{title}:"));
    for word in items(words) {
        for line in text(word).split('\n') {
            out.line(3, line);
        }
    }
}

fn state(out: &mut Text, title: &str, state: &Value) {
    if state["running"].is_object() {
        out.field(2, title, "Running");
        out.field(3, "Started", &date(&state["running"]["startedAt"]));
    } else if let Some(ended) = Some(&state["terminated"]).filter(|t| t.is_object()) {
        out.field(2, title, "Terminated");
        out.some(3, "Reason", &ended["reason"]);
        out.some(3, "Message", &ended["message"]);
        out.field(3, "Exit Code", &number(&ended["exitCode"]).to_string());
        if number(&ended["signal"]) > 0 {
            out.field(3, "Signal", &number(&ended["signal"]).to_string());
        }
        out.field(3, "Started", &date(&ended["startedAt"]));
        out.field(3, "Finished", &date(&ended["finishedAt"]));
    } else {
        out.field(2, title, "Waiting");
        out.some(3, "Reason", &state["waiting"]["reason"]);
    }
}

pub fn resources(out: &mut Text, level: usize, resources: &Value) {
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let mut all: Vec<_> = resources[field].as_object().into_iter().flatten().collect();
        if all.is_empty() {
            continue;
        }
        all.sort_by_key(|(name, _)| *name);
        out.line(level, &format!("{title}:"));
        for (name, amount) in all {
            out.field(level + 1, name, &text(amount));
        }
    }
}

/// `http-get http://:80/ delay=0s timeout=1s period=10s successThreshold=1 failureThreshold=3`
fn probe(p: &Value) -> String {
    let attributes = format!(
        "delay={}s timeout={}s period={}s successThreshold={} failureThreshold={}",
        number(&p["initialDelaySeconds"]),
        number(&p["timeoutSeconds"]),
        number(&p["periodSeconds"]),
        number(&p["successThreshold"]),
        number(&p["failureThreshold"])
    );
    let how = if p["exec"].is_object() {
        format!("exec [{}]", items(&p["exec"]["command"]).iter().map(text).collect::<Vec<_>>().join(" "))
    } else if p["httpGet"].is_object() {
        let get = &p["httpGet"];
        let scheme = text_or(&get["scheme"], "http").to_lowercase();
        format!("http-get {scheme}://{}:{}{}", text(&get["host"]), text(&get["port"]), text(&get["path"]))
    } else if p["tcpSocket"].is_object() {
        format!("tcp-socket {}:{}", text(&p["tcpSocket"]["host"]), text(&p["tcpSocket"]["port"]))
    } else if p["grpc"].is_object() {
        format!("grpc <pod>:{} {}", text(&p["grpc"]["port"]), text(&p["grpc"]["service"]))
    } else {
        "unknown".to_owned()
    };
    format!("{how} {attributes}")
}

fn environment_from(out: &mut Text, c: &Value) {
    let all = items(&c["envFrom"]);
    if all.is_empty() {
        return;
    }
    out.line(2, "Environment Variables from:");
    for source in all {
        let (kind, reference) = if source["configMapRef"].is_object() {
            ("ConfigMap", &source["configMapRef"])
        } else {
            ("Secret", &source["secretRef"])
        };
        let prefix = source["prefix"].as_str().filter(|p| !p.is_empty());
        let prefix = prefix.map(|p| format!(" with prefix '{p}'")).unwrap_or_default();
        let optional = reference["optional"] == true;
        out.line(3, &format!("{}\t{kind}{prefix}\tOptional: {optional}", text(&reference["name"])));
    }
}

fn environment(out: &mut Text, c: &Value, pod: Option<&Value>) {
    let all = items(&c["env"]);
    if all.is_empty() {
        out.field(2, "Environment", "<none>");
        return;
    }
    out.line(2, "Environment:");
    for variable in all {
        let title = text(&variable["name"]);
        let source = &variable["valueFrom"];
        if source.is_null() {
            for (i, line) in text(&variable["value"]).split('\n').enumerate() {
                if i == 0 { out.field(3, &title, line) } else { out.line(3, &format!("\t{line}")) }
            }
        } else {
            out.field(3, &title, &reference(c, source, pod));
        }
    }
}

fn reference(c: &Value, source: &Value, pod: Option<&Value>) -> String {
    let field = &source["fieldRef"];
    if field.is_object() {
        let path = text(&field["fieldPath"]);
        let value = pod.map(|pod| of_metadata(pod, &path)).unwrap_or_default();
        return format!("{value} ({}:{path})", text_or(&field["apiVersion"], "v1"));
    }
    let resource = &source["resourceFieldRef"];
    if resource.is_object() {
        let name = text(&resource["resource"]);
        let mut value = of_resources(c, &name, &text(&resource["divisor"]));
        if value == "0" && ["limits.cpu", "limits.memory"].contains(&name.as_str()) {
            value = "node allocatable".into();
        }
        return format!("{value} ({name})");
    }
    let key = |reference: &Value, what: &str| {
        let optional = reference["optional"] == true;
        format!(
            "<set to the key '{}' {what} '{}'>\tOptional: {optional}",
            text(&reference["key"]),
            text(&reference["name"])
        )
    };
    if source["secretKeyRef"].is_object() {
        key(&source["secretKeyRef"], "in secret")
    } else {
        key(&source["configMapKeyRef"], "of config map")
    }
}

/// What a field reference means of the pod's metadata; other fields are known only where the pod runs.
fn of_metadata(pod: &Value, path: &str) -> String {
    let metadata = &pod["metadata"];
    match path {
        "metadata.name" => name(pod),
        "metadata.namespace" => text(&metadata["namespace"]),
        "metadata.uid" => text(&metadata["uid"]),
        _ => {
            let of = |map: &str| {
                path.strip_prefix(&format!("metadata.{map}['"))
                    .and_then(|p| p.strip_suffix("']"))
                    .map(|key| text(&metadata[map][key]))
            };
            of("labels").or_else(|| of("annotations")).unwrap_or_default()
        }
    }
}

/// A resource in units of the divisor, rounded up (`resource.ExtractContainerResourceValue`).
fn of_resources(c: &Value, name: &str, divisor: &str) -> String {
    let Some((list, resource)) = name.split_once('.') else { return String::new() };
    let parse = |text: &str| text.parse::<Quantity>().ok();
    let amount = parse(&text_or(&c["resources"][list][resource], "0"));
    let divisor = parse(divisor).filter(|d| !d.is_zero()).or_else(|| parse("1"));
    let (Some(amount), Some(divisor)) = (amount, divisor) else { return String::new() };
    let (whole, part) = if resource == "cpu" {
        (amount.milli_value(), divisor.milli_value())
    } else {
        (amount.value(), divisor.value())
    };
    let part = part.max(1);
    (whole / part + i64::from(whole % part > 0)).to_string()
}

fn mounts(out: &mut Text, c: &Value) {
    let mut all: Vec<&Value> = items(&c["volumeMounts"]).iter().collect();
    all.sort_by_key(|m| text(&m["mountPath"]));
    let none = if all.is_empty() { "\t<none>" } else { "" };
    out.line(2, &format!("Mounts:{none}"));
    for mount in all {
        let mut flags = if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() };
        if let Some(path) = mount["subPath"].as_str().filter(|p| !p.is_empty()) {
            flags.push_str(&format!(",path={path:?}"));
        }
        out.line(3, &format!("{} from {} ({flags})", text(&mount["mountPath"]), text(&mount["name"])));
    }
    let mut devices: Vec<&Value> = items(&c["volumeDevices"]).iter().collect();
    devices.sort_by_key(|d| text(&d["devicePath"]));
    if !devices.is_empty() {
        out.line(2, &format!("Devices:{none}"));
        for device in devices {
            out.line(3, &format!("{} from {}", text(&device["devicePath"]), text(&device["name"])));
        }
    }
}
