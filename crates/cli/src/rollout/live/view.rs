//! The picture of a rollout as a value: what is shown, not yet how. Pure: [`view`] of what is observed, at a time.
use super::observed::Observed;
use super::pod::{self, PodLine, State};
use isopod_api::intstr::{self, Round};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub name: String,
    pub namespace: String,
    /// The newest revision that still has pods beside the new one.
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub phase: Phase,
    /// What the new revision changes: images, and the cause that was noted.
    pub changes: Vec<String>,
    pub bars: Vec<Bar>,
    pub sides: Vec<Side>,
    /// What has to happen next, and why it has not yet.
    pub waiting: Vec<String>,
    /// Seconds until the rollout counts as failed; `None`: nothing is under way, or there is no deadline.
    pub deadline: Option<i64>,
    /// The command that takes the rollout back.
    pub undo: Option<String>,
    /// The API server does not answer: for how many seconds, and why.
    pub silence: Option<(i64, String)>,
    /// A line of the caller's.
    pub footer: String,
}

/// ## Unobserved => (Rolling | Paused) => (Done | Failed)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The controller has not seen the newest change yet.
    Unobserved,
    Rolling,
    Paused,
    /// What the condition says. (Its reason is the same for every failure: the one that kubectl knows.)
    Failed(String),
    Done,
}

/// Pods against a bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    pub label: &'static str,
    /// Pods of the new revision, then those of old ones.
    pub new: i64,
    pub old: i64,
    /// The bound, drawn as a mark.
    pub mark: i64,
    /// What the bar's whole length stands for.
    pub scale: i64,
    pub note: String,
    /// Whether the bound is crossed.
    pub is_broken: bool,
}

/// Pods of the new revision, or of an old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    pub is_new: bool,
    pub revision: Option<i64>,
    pub set: String,
    /// What needs attention first.
    pub pods: Vec<PodLine>,
}

impl Side {
    /// `3 ready · 1 ContainerCreating`, most urgent first.
    pub fn summary(&self) -> String {
        summary(&self.pods)
    }
    fn count(&self, wanted: impl Fn(&PodLine) -> bool) -> i64 {
        i64::try_from(self.pods.iter().filter(|p| wanted(p)).count()).unwrap_or(i64::MAX)
    }
}

/// Counts of pods by what they do. Draining ones are one group with all their connections.
pub fn summary(pods: &[PodLine]) -> String {
    let mut groups: BTreeMap<(State, &str), usize> = BTreeMap::new();
    for pod in pods {
        let word = if pod.state == State::Draining { "draining" } else { pod.word.as_str() };
        *groups.entry((pod.state, word)).or_default() += 1;
    }
    let connections = pods.iter().map(pod::connections).fold(0, u64::saturating_add);
    let text = |((state, word), count): (&(State, &str), &usize)| match connections {
        1.. if *state == State::Draining => format!("{count} {word} {}", plural(connections, "connection")),
        _ => format!("{count} {word}"),
    };
    groups.iter().map(text).collect::<Vec<_>>().join(" · ")
}

/// `1 pod`, `2 pods`
pub fn plural(count: impl Into<u64>, thing: &str) -> String {
    let count = count.into();
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `None`: there is no Deployment (yet).
pub fn view(observed: &Observed, program: &str, footer: &str, now: Timestamp) -> Option<View> {
    let d = observed.deployment()?;
    let sides = sides(observed, d, now);
    let bounds = Bounds::of(d);
    let (from, to) = (
        sides.iter().find(|s| !s.is_new).and_then(|s| s.revision),
        sides.iter().find(|s| s.is_new).and_then(|s| s.revision),
    );
    let phase = phase(d, &sides, &bounds);
    let name = d.metadata.name.clone().unwrap_or_default();
    let namespace = d.metadata.namespace.clone().unwrap_or_default();
    let place = if namespace == "default" { String::new() } else { format!(" -n {namespace}") };
    Some(View {
        changes: changes(observed, d, &sides),
        bars: bars(&sides, &bounds),
        waiting: waiting(d, &phase, &sides, &bounds, program),
        deadline: if matches!(phase, Phase::Rolling) { deadline(d, now) } else { None },
        undo: to.filter(|to| *to > 1).map(|_| format!("{program} rollout undo deployment/{name}{place}")),
        silence: observed.silence.as_ref().map(|s| (now.duration_since(s.since).as_secs().max(0), s.why.clone())),
        footer: footer.to_owned(),
        name,
        namespace,
        from,
        to,
        phase,
        sides,
    })
}

/// How far a rollout may go at once (`deployment_util.go`, `ResolveFenceposts`).
struct Bounds {
    replicas: i64,
    surge: i64,
    unavailable: i64,
}

impl Bounds {
    fn of(d: &Deployment) -> Self {
        let replicas = i64::from(d.spec.replicas.unwrap_or(1));
        let strategy = d.spec.strategy.as_ref();
        if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
            return Self { replicas, surge: 0, unavailable: replicas };
        }
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let scaled = |value: Option<_>, round| value.and_then(|v| intstr::scaled(v, replicas, round)).unwrap_or(0);
        let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), Round::Up);
        let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), Round::Down);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, surge, unavailable: unavailable.min(replicas) }
    }
    fn most(&self) -> i64 {
        self.replicas.saturating_add(self.surge)
    }
    fn least(&self) -> i64 {
        self.replicas.saturating_sub(self.unavailable)
    }
}

fn number_of(meta: &ObjectMeta) -> Option<i64> {
    meta.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

fn is_observed(d: &Deployment) -> bool {
    let seen = d.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
    seen >= d.metadata.generation.unwrap_or(0)
}

fn owner<K: Metadata<Ty = ObjectMeta>>(object: &K) -> Option<&str> {
    let owners = object.metadata().owner_references.as_ref()?;
    owners.iter().find(|o| o.controller == Some(true)).map(|o| o.uid.as_str())
}

/// The new ReplicaSet first, then old ones that still have pods, the newest first.
fn sides(observed: &Observed, d: &Deployment, now: Timestamp) -> Vec<Side> {
    let settle = SignedDuration::from_secs(d.spec.min_ready_seconds.unwrap_or(0).into());
    let mut by_set: BTreeMap<&str, Vec<PodLine>> = BTreeMap::new();
    for pod in observed.pods.all() {
        if let Some(owner) = owner(pod) {
            by_set.entry(owner).or_default().push(pod::line(pod, &observed.words(pod), settle, now));
        }
    }
    let uid = d.metadata.uid.as_deref();
    let current = number_of(&d.metadata).filter(|_| is_observed(d));
    let side = |set: &ReplicaSet| {
        let mut pods = by_set.remove(set.metadata.uid.as_deref().unwrap_or_default()).unwrap_or_default();
        pods.sort_by(|a, b| (a.state, a.age, &a.name).cmp(&(b.state, b.age, &b.name)));
        let revision = number_of(&set.metadata);
        Side {
            is_new: current.is_some() && revision == current,
            revision,
            set: set.metadata.name.clone().unwrap_or_default(),
            pods,
        }
    };
    let mut sides: Vec<Side> = observed.sets.all().filter(|s| owner(*s) == uid).map(side).collect();
    sides.retain(|s| s.is_new || !s.pods.is_empty());
    sides.sort_by_key(|s| (!s.is_new, std::cmp::Reverse(s.revision)));
    sides
}

fn progressing(d: &Deployment) -> Option<&DeploymentCondition> {
    condition(d, "Progressing")
}

/// Reasons of the Progressing condition that say no more than the picture does (`deployment_util.go`).
fn is_usual(progressing: &DeploymentCondition) -> bool {
    const USUAL: [&str; 6] = [
        "NewReplicaSetCreated",
        "FoundNewReplicaSet",
        "ReplicaSetUpdated",
        "NewReplicaSetAvailable",
        "DeploymentPaused",
        "DeploymentResumed",
    ];
    progressing.reason.as_deref().is_none_or(|r| USUAL.contains(&r))
}

fn condition<'a>(d: &'a Deployment, kind: &str) -> Option<&'a DeploymentCondition> {
    d.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_.as_deref() == Some(kind))
}

fn phase(d: &Deployment, sides: &[Side], bounds: &Bounds) -> Phase {
    if !is_observed(d) {
        return Phase::Unobserved;
    }
    if let Some(failed) = progressing(d).filter(|c| c.status.as_deref() == Some("False")) {
        return Phase::Failed(failed.message.clone().unwrap_or_default());
    }
    let status = d.status.as_ref();
    let number = |f: fn(&k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<i32>| {
        i64::from(status.and_then(f).unwrap_or(0))
    };
    let updated = number(|s| s.updated_replicas);
    let is_over = updated >= bounds.replicas
        && number(|s| s.replicas) <= updated
        && number(|s| s.available_replicas) >= updated
        && (bounds.replicas == 0 || sides.iter().any(|s| s.is_new));
    match (is_over, d.spec.paused) {
        (true, _) => Phase::Done,
        (false, Some(true)) => Phase::Paused,
        (false, _) => Phase::Rolling,
    }
}

/// Seconds until the progress deadline, counted from the last progress (`DeploymentTimedOut`).
fn deadline(d: &Deployment, now: Timestamp) -> Option<i64> {
    let seconds = d.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    let condition = progressing(d).filter(|c| c.reason.as_deref() != Some("NewReplicaSetAvailable"))?;
    let passed = now.duration_since(condition.last_update_time.as_ref()?.0).as_secs();
    Some(i64::from(seconds).saturating_sub(passed).max(0))
}

fn bars(sides: &[Side], bounds: &Bounds) -> Vec<Bar> {
    let count = |is_new: bool, wanted: &dyn Fn(&PodLine) -> bool| -> i64 {
        sides.iter().filter(|s| s.is_new == is_new).map(|s| s.count(wanted)).fold(0, i64::saturating_add)
    };
    let stays = |p: &PodLine| !matches!(p.state, State::Draining | State::Stopping | State::Ended);
    let leaves = |p: &PodLine| matches!(p.state, State::Draining | State::Stopping);
    let available = |p: &PodLine| p.state == State::Available;
    let (new, old) = (count(true, &stays), count(false, &stays));
    let (new_ready, old_ready) = (count(true, &available), count(false, &available));
    let leaving = count(true, &leaves).saturating_add(count(false, &leaves));
    let (total, ready) = (new.saturating_add(old), new_ready.saturating_add(old_ready));
    let scale = bounds.most().max(total).max(1);
    let also = if leaving > 0 { format!(" (+{leaving} leaving)") } else { String::new() };
    let (least, most) = (bounds.least(), bounds.most());
    vec![
        Bar {
            label: "ready",
            new: new_ready,
            old: old_ready,
            mark: least,
            scale,
            note: format!("{ready} of {}, at least {least}", bounds.replicas),
            is_broken: ready < least,
        },
        Bar {
            label: "updated",
            new,
            old: 0,
            mark: bounds.replicas,
            scale,
            note: format!("{new} of {}", bounds.replicas),
            is_broken: false,
        },
        Bar {
            label: "total",
            new,
            old,
            mark: most,
            scale,
            note: format!("{total}, at most {most}{also}"),
            is_broken: total > most,
        },
    ]
}

fn changes(observed: &Observed, d: &Deployment, sides: &[Side]) -> Vec<String> {
    let set = |name: &str| observed.sets.all().find(|s| s.metadata.name.as_deref() == Some(name));
    let new = sides.iter().find(|s| s.is_new).and_then(|s| set(&s.set));
    let old = sides.iter().find(|s| !s.is_new).and_then(|s| set(&s.set));
    let mut lines = Vec::new();
    if let Some(old) = old.and_then(|s| s.spec.template.as_ref()) {
        lines.extend(images(old, &d.spec.template));
    }
    let cause = new.and_then(|s| s.metadata.annotations.as_ref()?.get(CAUSE));
    lines.extend(cause.filter(|c| !c.is_empty()).map(|c| format!("why: {}", one_line(c))));
    // isopod's own: an automatic rollback (`isopod.dev/auto-rollback`) says what it was for.
    let taken_back = condition(d, "RolledBack").filter(|c| c.status.as_deref() == Some("True"));
    lines.extend(taken_back.map(|c| format!("rolled back: {}", one_line(c.message.as_deref().unwrap_or_default()))));
    lines
}

/// `web: hello:v1 → hello:v2` for each container that gets another image.
fn images(old: &PodTemplateSpec, new: &PodTemplateSpec) -> Vec<String> {
    let of = |template: &PodTemplateSpec| -> Vec<(String, String)> {
        let spec = template.spec.as_ref();
        let init = spec.and_then(|s| s.init_containers.as_ref()).into_iter().flatten();
        let all = init.chain(spec.map(|s| &s.containers).into_iter().flatten());
        all.map(|c| (c.name.clone(), c.image.clone().unwrap_or_default())).collect()
    };
    let before: BTreeMap<String, String> = of(old).into_iter().collect();
    let changed = of(new).into_iter().filter_map(|(name, image)| {
        let was = before.get(&name).filter(|was| **was != image)?;
        Some(format!("{name}: {was} → {image}"))
    });
    changed.collect()
}

fn waiting(d: &Deployment, phase: &Phase, sides: &[Side], bounds: &Bounds, program: &str) -> Vec<String> {
    let name = d.metadata.name.as_deref().unwrap_or_default();
    match phase {
        Phase::Unobserved => return vec!["the Deployment controller to see the change".into()],
        Phase::Paused => return vec![format!("{program} rollout resume deployment/{name} (it is paused)")],
        Phase::Done => return Vec::new(),
        Phase::Rolling | Phase::Failed(..) => {}
    }
    let mut lines = Vec::new();
    if let Some(unusual) = progressing(d).filter(|c| c.status.as_deref() != Some("False") && !is_usual(c)) {
        lines.push(one_line(unusual.message.as_deref().unwrap_or_default()));
    }
    if let Some(refused) = condition(d, "ReplicaFailure").filter(|c| c.status.as_deref() == Some("True")) {
        lines.push(format!("pods that may be made: {}", refused.message.as_deref().unwrap_or_default()));
    }
    let new = sides.iter().find(|s| s.is_new);
    lines.extend(new.map(|s| unready(&s.pods)).unwrap_or_default());
    let made = new.map_or(0, |s| i64::try_from(s.pods.len()).unwrap_or(i64::MAX));
    if lines.is_empty() {
        let missing = bounds.replicas.saturating_sub(made);
        if missing > 0 {
            let missing = plural(u64::try_from(missing).unwrap_or(0), "new pod");
            lines.push(format!(
                "{missing} to be made: at most {} pods at once, at least {} ready",
                bounds.most(),
                bounds.least()
            ));
        } else if sides.iter().any(|s| !s.is_new) {
            lines.push("old pods to be taken away".into());
        }
    }
    lines
}

/// What new pods still lack, those with the same reason together, the most urgent first.
fn unready(pods: &[PodLine]) -> Vec<String> {
    let mut groups: BTreeMap<(State, &str), (u64, Option<&str>)> = BTreeMap::new();
    for pod in pods.iter().filter(|p| matches!(p.state, State::Failing | State::Starting | State::Settling)) {
        let group = groups.entry((pod.state, &pod.word)).or_default();
        group.0 = group.0.saturating_add(1);
        group.1 = group.1.or(pod.why.as_deref());
    }
    let line = |((state, word), (count, why)): (&(State, &str), &(u64, Option<&str>))| {
        let pods = plural(*count, "new pod");
        let why = why.map(|w| format!(": {}", one_line(w))).unwrap_or_default();
        match state {
            State::Settling => format!("{pods} to stay ready{why}"),
            _ => format!("{pods} to become ready: {word}{why}"),
        }
    };
    groups.iter().map(line).collect()
}

/// Messages come with line breaks; the picture has one line for them.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Pods of old revisions that are still there, those that are leaving included.
pub fn old_pods(observed: &Observed) -> usize {
    let Some(d) = observed.deployment() else { return 0 };
    sides(observed, d, Timestamp::UNIX_EPOCH).iter().filter(|s| !s.is_new).map(|s| s.pods.len()).sum()
}
