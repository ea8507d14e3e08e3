//! `auth`: who one is to the cluster, and what one may do.
use crate::connect::Session;
use crate::error::{CliError, Result};
use crate::output::{self, Output};
use crate::resource::Resources;
use serde_json::{Value, json};

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Whether something is allowed: VERB TYPE[/NAME], or VERB and a path that is no resource's.
    CanI(CanI),
    /// Who the cluster takes you for.
    Whoami(Whoami),
}

#[derive(clap::Args, Debug)]
pub struct CanI {
    words: Vec<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// A part of the object, such as log or scale.
    #[arg(long, default_value = "")]
    subresource: String,
    /// Say nothing; only the exit code tells.
    #[arg(short, long)]
    quiet: bool,
    /// Everything that is allowed.
    #[arg(long)]
    list: bool,
    #[arg(long)]
    no_headers: bool,
}

#[derive(clap::Args, Debug)]
pub struct Whoami {
    #[command(flatten)]
    output: Output,
}

pub async fn run(command: &Command, session: &Session) -> Result<()> {
    match command {
        Command::CanI(args) if args.list => list(args, session).await,
        Command::CanI(args) => can_i(args, session).await,
        Command::Whoami(args) => whoami(args, session).await,
    }
}

async fn can_i(args: &CanI, session: &Session) -> Result<()> {
    let (verb, what) = match args.words.as_slice() {
        [verb, what] => (verb, what.clone()),
        [verb, what, name] => (verb, format!("{what}/{name}")),
        _ => {
            return Err(CliError::usage(
                "you must specify two arguments: verb resource or verb resource/resourceName.",
            ));
        }
    };
    let attributes = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"path": what, "verb": verb}})
    } else {
        let (kind, name) = what.split_once('/').unwrap_or((&what, ""));
        let (group, resource, namespaced) = match Resources::new(session).find(kind).await {
            Ok(r) => (r.group, r.plural, r.namespaced),
            Err(_) if kind == "*" => ("*".to_owned(), "*".to_owned(), true),
            Err(_) => {
                eprintln!("Warning: the server doesn't have a resource type '{kind}'\n");
                (String::new(), kind.to_owned(), true)
            }
        };
        if !namespaced && !args.all_namespaces {
            let group = if group.is_empty() { String::new() } else { format!(" in group '{group}'") };
            eprintln!("Warning: resource '{resource}' is not namespace scoped{group}\n");
        }
        let namespace = if args.all_namespaces || !namespaced { "" } else { &session.namespace };
        json!({"resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": args.subresource, "name": name
        }})
    };
    let review =
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": attributes});
    let answer = session.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let status = &answer["status"];
    let allowed = status["allowed"] == true;
    if !args.quiet {
        let text = |name: &str| status[name].as_str().filter(|t| !t.is_empty());
        let reason = text("reason").map(|r| format!(" - {r}")).unwrap_or_default();
        let error = text("evaluationError").map(|e| format!(" - {e}")).unwrap_or_default();
        output::say(&if allowed { "yes".to_owned() } else { format!("no{reason}{error}") })?;
    }
    if allowed { Ok(()) } else { Err(CliError::Exit(1)) }
}

async fn list(args: &CanI, session: &Session) -> Result<()> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": session.namespace}});
    let answer = session.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await?;
    let words =
        |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let shown = |all: Vec<String>| format!("[{}]", all.join(" "));
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !args.no_headers {
        rows.push(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"].map(str::to_owned).to_vec());
    }
    for rule in answer["status"]["resourceRules"].as_array().into_iter().flatten() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let name = if group.is_empty() { resource } else { format!("{resource}.{group}") };
                rows.push(vec![name, "[]".into(), shown(words(&rule["resourceNames"])), shown(words(&rule["verbs"]))]);
            }
        }
    }
    for rule in answer["status"]["nonResourceRules"].as_array().into_iter().flatten() {
        rows.push(vec![
            String::new(),
            shown(words(&rule["nonResourceURLs"])),
            "[]".into(),
            shown(words(&rule["verbs"])),
        ]);
    }
    output::write(&output::aligned(&rows))
}

async fn whoami(args: &Whoami, session: &Session) -> Result<()> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = session.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    if let Some(format) = args.output.format()? {
        return output::write(&output::text(&format, &answer, "selfsubjectreview.authentication.k8s.io/")?);
    }
    let user = &answer["status"]["userInfo"];
    let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
    let mut row = |title: String, value: String| {
        if !value.is_empty() {
            rows.push(vec![title, value]);
        }
    };
    row("Username".into(), user["username"].as_str().unwrap_or_default().to_owned());
    row("UID".into(), user["uid"].as_str().unwrap_or_default().to_owned());
    let list = |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
    if user["groups"].as_array().is_some_and(|g| !g.is_empty()) {
        row("Groups".into(), format!("[{}]", list(&user["groups"])));
    }
    for (key, values) in user["extra"].as_object().into_iter().flatten() {
        row(format!("Extra: {key}"), format!("[{}]", list(values)));
    }
    output::write(&output::aligned(&rows))
}
