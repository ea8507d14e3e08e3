//! A pod template in words, as `kubectl rollout history --revision` and `describe` show it
//! (`kubectl/pkg/describe/describe.go`, `DescribePodTemplate`).
use serde_json::Value;
use std::fmt::Write as _;

/// `Pod Template:` and what is in it.
pub fn describe(template: &Value) -> String {
    let mut out = Writer::default();
    out.line(0, "Pod Template:");
    if template.is_null() {
        out.line(1, "<unset>");
        return out.text;
    }
    out.map(1, "Labels", &template["metadata"]["labels"], '=');
    if template["metadata"]["annotations"].as_object().is_some_and(|a| !a.is_empty()) {
        out.map(1, "Annotations", &template["metadata"]["annotations"], ':');
    }
    let spec = &template["spec"];
    if let Some(account) = spec["serviceAccountName"].as_str().filter(|s| !s.is_empty()) {
        out.line(1, &format!("Service Account:\t{account}"));
    }
    if let Some(init) = spec["initContainers"].as_array().filter(|c| !c.is_empty()) {
        containers(&mut out, "Init Containers", init);
    }
    containers(&mut out, "Containers", spec["containers"].as_array().map_or(&[], Vec::as_slice));
    volumes(&mut out, spec["volumes"].as_array().map_or(&[], Vec::as_slice));
    if let Some(class) = spec["priorityClassName"].as_str() {
        out.line(1, &format!("Priority Class Name:\t{class}"));
    }
    out.map(1, "Node-Selectors", &spec["nodeSelector"], '=');
    tolerations(&mut out, &spec["tolerations"]);
    out.text
}

/// Lines with two spaces a level; cells stay apart by tabs, as kubectl leaves them here.
#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    fn line(&mut self, level: usize, text: &str) {
        // Writing to a string cannot fail.
        let _ok = writeln!(self.text, "{}{text}", "  ".repeat(level));
    }
    /// The first pair beside the title, the others below it.
    fn map(&mut self, level: usize, title: &str, map: &Value, separator: char) {
        let Some(map) = map.as_object().filter(|m| !m.is_empty()) else {
            self.line(level, &format!("{title}:\t<none>"));
            return;
        };
        let space = if separator == ':' { " " } else { "" };
        let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
        pairs.sort_by_key(|(key, _)| *key);
        for (i, (key, value)) in pairs.into_iter().enumerate() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if i == 0 {
                self.line(level, &format!("{title}:\t{key}{separator}{space}{value}"));
            } else {
                self.line(0, &format!("\t{key}{separator}{space}{value}"));
            }
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn containers(out: &mut Writer, title: &str, all: &[Value]) {
    if all.is_empty() {
        out.line(1, &format!("{title}: <none>"));
        return;
    }
    out.line(1, &format!("{title}:"));
    for container in all {
        out.text.push_str(&format!("   {}:\n", text(&container["name"])));
        one(out, container);
    }
}

fn one(out: &mut Writer, c: &Value) {
    out.line(2, &format!("Image:\t{}", text(&c["image"])));
    let ports = items(&c["ports"]);
    let protocol = |p: &Value| p["protocol"].as_str().unwrap_or("TCP").to_owned();
    let name = |p: &Value| p["name"].as_str().map(|n| format!(" ({n})")).unwrap_or_default();
    let shown = |field: &str| {
        let number = |p: &Value| p[field].as_i64().unwrap_or(0);
        ports.iter().map(|p| format!("{}/{}{}", number(p), protocol(p), name(p))).collect::<Vec<_>>().join(", ")
    };
    let plural = if ports.len() > 1 { "s" } else { "" };
    if ports.is_empty() {
        out.line(2, "Port:\t<none>");
        out.line(2, "Host Port:\t<none>");
    } else {
        out.line(2, &format!("Port{plural}:\t{}", shown("containerPort")));
        out.line(2, &format!("Host Port{plural}:\t{}", shown("hostPort")));
    }
    for (title, field) in [("Command", "command"), ("Args", "args")] {
        let words = items(&c[field]);
        if !words.is_empty() {
            out.line(2, &format!("{title}:"));
            for word in words.iter().flat_map(|w| text(w).lines().map(str::to_owned).collect::<Vec<_>>()) {
                out.line(3, &word);
            }
        }
    }
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        let resources = c["resources"][field].as_object().into_iter().flatten();
        let lines: Vec<String> = resources.map(|(name, amount)| format!("{name}:\t{}", text(amount))).collect();
        if !lines.is_empty() {
            out.line(2, &format!("{title}:"));
            lines.iter().for_each(|line| out.line(3, line));
        }
    }
    for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if c[field].is_object() {
            out.line(2, &format!("{title}:\t{}", probe(&c[field])));
        }
    }
    environment(out, c);
    mounts(out, c);
}

/// `http-get http://:80/ delay=0s timeout=1s period=10s #success=1 #failure=3`
pub fn probe(p: &Value) -> String {
    let number = |name: &str| p[name].as_i64().unwrap_or(0);
    let attributes = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    );
    let how = if p["exec"].is_object() {
        format!("exec [{}]", items(&p["exec"]["command"]).iter().map(text).collect::<Vec<_>>().join(" "))
    } else if let Some(http) = p["httpGet"].as_object() {
        let get = |name: &str| http.get(name).map(text).unwrap_or_default();
        let scheme =
            Some(get("scheme")).filter(|s| !s.is_empty()).map(|s| s.to_lowercase()).unwrap_or_else(|| "http".into());
        format!("http-get {scheme}://{}:{}{}", get("host"), get("port"), get("path"))
    } else if p["tcpSocket"].is_object() {
        format!("tcp-socket {}:{}", text(&p["tcpSocket"]["host"]), text(&p["tcpSocket"]["port"]))
    } else if p["grpc"].is_object() {
        format!("grpc <pod>:{} {}", text(&p["grpc"]["port"]), text(&p["grpc"]["service"]))
    } else {
        "unknown".to_owned()
    };
    format!("{how} {attributes}")
}

fn environment(out: &mut Writer, c: &Value) {
    let from = items(&c["envFrom"]);
    if !from.is_empty() {
        out.line(2, "Environment Variables from:");
        for source in from {
            let (kind, reference) = if source["configMapRef"].is_object() {
                ("ConfigMap", &source["configMapRef"])
            } else {
                ("Secret", &source["secretRef"])
            };
            let prefix = source["prefix"].as_str().map(|p| format!(" with prefix '{p}'")).unwrap_or_default();
            out.line(
                3,
                &format!("{}\t{kind}{prefix}\tOptional: {}", text(&reference["name"]), reference["optional"] == true),
            );
        }
    }
    let all = items(&c["env"]);
    if all.is_empty() {
        out.line(2, "Environment:\t<none>");
        return;
    }
    out.line(2, "Environment:");
    for variable in all {
        let name = text(&variable["name"]);
        let source = &variable["valueFrom"];
        let value = if let Some(field) = source["fieldRef"].as_object() {
            let of = |name: &str| field.get(name).map(text).unwrap_or_default();
            format!(" ({}:{})", of("apiVersion"), of("fieldPath"))
        } else if source["resourceFieldRef"].is_object() {
            let r = &source["resourceFieldRef"];
            format!("{} ({})", text(&r["divisor"]), text(&r["resource"]))
        } else if let Some((kind, reference)) =
            [("secret", &source["secretKeyRef"]), ("config map", &source["configMapKeyRef"])]
                .into_iter()
                .find(|(_, r)| r.is_object())
        {
            format!(
                "<set to the key '{}' in {kind} '{}'>\tOptional: {}",
                text(&reference["key"]),
                text(&reference["name"]),
                reference["optional"] == true
            )
        } else {
            let value = text(&variable["value"]);
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default().to_owned();
            lines.fold(first, |all, line| format!("{all}\n\t{line}"))
        };
        out.line(3, &format!("{name}:\t{value}"));
    }
}

fn mounts(out: &mut Writer, c: &Value) {
    let mut all: Vec<&Value> = items(&c["volumeMounts"]).iter().collect();
    if all.is_empty() {
        out.line(2, "Mounts:\t<none>");
        return;
    }
    all.sort_by_key(|m| text(&m["mountPath"]));
    out.line(2, "Mounts:");
    for mount in all {
        let mut flags = vec![if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() }];
        if let Some(path) = mount["subPath"].as_str().filter(|p| !p.is_empty()) {
            flags.push(format!("path={path:?}"));
        }
        out.line(3, &format!("{} from {} ({})", text(&mount["mountPath"]), text(&mount["name"]), flags.join(",")));
    }
}

fn volumes(out: &mut Writer, all: &[Value]) {
    if all.is_empty() {
        out.line(1, "Volumes:\t<none>");
        return;
    }
    out.line(1, "Volumes:");
    for volume in all {
        out.text.push_str(&format!("   {}:\n", text(&volume["name"])));
        let (kind, lines) = source(volume);
        out.line(2, &format!("Type:\t{kind}"));
        for line in lines {
            out.line(2, &line);
        }
    }
}

fn source(v: &Value) -> (String, Vec<String>) {
    let optional = |o: &Value| format!("Optional:\t{}", o["optional"] == true);
    if let Some(s) = v["emptyDir"].as_object() {
        let medium = s.get("medium").map(text).unwrap_or_default();
        let limit = s.get("sizeLimit").map(text).unwrap_or_else(|| "<unset>".into());
        (
            "EmptyDir (a temporary directory that shares a pod's lifetime)".into(),
            vec![format!("Medium:\t{medium}"), format!("SizeLimit:\t{limit}")],
        )
    } else if v["hostPath"].is_object() {
        let h = &v["hostPath"];
        (
            "HostPath (bare host directory volume)".into(),
            vec![format!("Path:\t{}", text(&h["path"])), format!("HostPathType:\t{}", text(&h["type"]))],
        )
    } else if v["secret"].is_object() {
        let s = &v["secret"];
        (
            "Secret (a volume populated by a Secret)".into(),
            vec![format!("SecretName:\t{}", text(&s["secretName"])), optional(s)],
        )
    } else if v["configMap"].is_object() {
        let s = &v["configMap"];
        (
            "ConfigMap (a volume populated by a ConfigMap)".into(),
            vec![format!("Name:\t{}", text(&s["name"])), optional(s)],
        )
    } else if v["persistentVolumeClaim"].is_object() {
        let s = &v["persistentVolumeClaim"];
        (
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)".into(),
            vec![format!("ClaimName:\t{}", text(&s["claimName"])), format!("ReadOnly:\t{}", s["readOnly"] == true)],
        )
    } else if v["projected"].is_object() {
        ("Projected (a volume that contains injected data from multiple sources)".into(), Vec::new())
    } else if v["downwardAPI"].is_object() {
        ("DownwardAPI (a volume populated by information about the pod)".into(), Vec::new())
    } else {
        ("<unknown>".into(), Vec::new())
    }
}

fn tolerations(out: &mut Writer, all: &Value) {
    let mut lines: Vec<String> = items(all)
        .iter()
        .map(|t| {
            let key = text(&t["key"]);
            let value = t["value"].as_str().filter(|v| !v.is_empty()).map(|v| format!("={v}")).unwrap_or_default();
            let effect = t["effect"].as_str().filter(|e| !e.is_empty()).map(|e| format!(":{e}")).unwrap_or_default();
            let exists = if t["operator"] == "Exists" && value.is_empty() {
                if key.is_empty() && effect.is_empty() { "op=Exists" } else { " op=Exists" }
            } else {
                ""
            };
            let seconds = t["tolerationSeconds"].as_i64().map(|s| format!(" for {s}s")).unwrap_or_default();
            format!("{key}{value}{effect}{exists}{seconds}")
        })
        .collect();
    lines.sort();
    match lines.split_first() {
        None => out.line(1, "Tolerations:\t<none>"),
        Some((first, rest)) => {
            out.line(1, &format!("Tolerations:\t{first}"));
            rest.iter().for_each(|line| out.line(0, &format!("\t{line}")));
        }
    }
}
