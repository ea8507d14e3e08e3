//! Tables: a pod, what the runtime has of it, what is remembered → what to do.
use super::*;
use isopod_runtime::{ContainerConfig, Exit, ExitCause, ExitStatus, SandboxConfig, SandboxState, SandboxStatus};
use jiff::SignedDuration;
use serde_json::{Value, json};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec})).unwrap()
}

/// `name#attempt@sandbox state`, newest first; states: `run`, `new`, `lost`, or an exit code, `/second` of its end.
fn container(text: &str, index: usize) -> ContainerStatus {
    let (head, state) = text.split_once(' ').unwrap();
    let (name, place) = head.split_once('#').unwrap();
    let (attempt, sandbox) = place.split_once('@').unwrap_or((place, "0"));
    let (state, end) = state.split_once('/').unwrap_or((state, "0"));
    let exit =
        |code: u8| Exit { at: at(end.parse().unwrap()), status: ExitStatus::Code(code), cause: ExitCause::Ended };
    let (state, exit) = match state {
        "run" => (ContainerState::Running, None),
        "new" => (ContainerState::Created, None),
        "lost" => (ContainerState::Unknown, None),
        code => (ContainerState::Exited, Some(exit(code.parse().unwrap()))),
    };
    ContainerStatus {
        id: ContainerId(format!("{name}{attempt}")),
        sandbox: SandboxId(sandbox.into()),
        state,
        config: ContainerConfig { name: name.into(), attempt: attempt.parse().unwrap(), ..Default::default() },
        created_at: at(-i64::try_from(index).unwrap()),
        started_at: Some(at(0)),
        exit,
        pid: None,
    }
}

fn sandbox(attempt: u32, ready: bool) -> SandboxStatus {
    SandboxStatus {
        id: SandboxId(attempt.to_string()),
        state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: at(i64::from(attempt)),
        config: SandboxConfig { attempt, ..Default::default() },
        netns_path: None,
    }
}

fn seen(sandboxes: &str, containers: &[&str]) -> Observed {
    let sandboxes = sandboxes.chars().zip(0..).map(|(c, attempt)| sandbox(attempt, c == '+')).collect();
    let containers = containers.iter().enumerate().map(|(i, text)| container(text, i)).collect();
    Observed::new(sandboxes, containers)
}

/// One line for everything that comes of it.
fn line(plan: &Plan) -> String {
    let mut out: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::MakeSandbox { attempt } => format!("sandbox {attempt}"),
            Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
            Action::Start { name, attempt, .. } => format!("start {name}#{attempt}"),
            Action::Stop { id, message, .. } => format!("stop {id}: {message}"),
            Action::Remove { id } => format!("remove {id}"),
            Action::Resize { id, resources } => format!("resize {id} to {:?}", resources.memory_limit_bytes),
        })
        .collect();
    out.extend(plan.waiting.iter().map(|(name, error)| format!("{name} waits: {}", error.reason)));
    if plan.is_done {
        out.push("done".into());
    }
    out.join(", ")
}

fn decide(spec: &Value, sandboxes: &str, containers: &[&str], memory: &Memory) -> String {
    line(&plan(&pod(spec.clone()), &seen(sandboxes, containers), memory, at(100)))
}

#[test]
fn main_containers() {
    let two = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]});
    let table = [
        ("Always", "", vec![], "sandbox 0"),
        ("Always", "+", vec![], "start a#0"),
        ("Always", "+", vec!["a#0 run"], "start b#0"),
        ("Always", "+", vec!["a#0 run", "b#0 run"], ""),
        ("Always", "+", vec!["a#0 run", "b#0 0"], "start b#1"),
        ("OnFailure", "+", vec!["a#0 run", "b#0 0"], ""),
        ("OnFailure", "+", vec!["a#0 run", "b#3 1"], "start b#4"),
        ("OnFailure", "+", vec!["a#0 0", "b#0 0"], "done"),
        ("Never", "+", vec!["a#0 1", "b#0 run"], ""),
        ("Never", "+", vec!["a#0 1", "b#0 0"], "done"),
        // Made and never started: its number is free again.
        ("Always", "+", vec!["a#2 new", "b#0 run"], "remove a2, start a#2"),
        ("Never", "+", vec!["a#0 lost", "b#0 run"], ""),
        ("Always", "+", vec!["a#0 lost", "b#0 run"], "start a#1"),
        // The sandbox has died with the machine.
        ("Always", "-", vec!["a#0 137", "b#0 137"], "sandbox 1"),
        ("Never", "-", vec!["a#0 137", "b#0 137"], "done"),
        ("Never", "-", vec![], "sandbox 1"),
        ("OnFailure", "-", vec!["a#0 0", "b#0 0"], "done"),
        ("Always", "-+", vec!["a#1@1 run", "a#0@0 137", "b#0@0 137"], "start b#1"),
        // Two of each are kept for people to read.
        ("Always", "+", vec!["a#3 run", "a#2 1", "a#1 1", "a#0 1", "b#0 run"], "remove a1, remove a0"),
        ("Always", "-+", vec!["a#1@1 run", "b#1@1 run"], "remove sandbox 0"),
    ];
    for (policy, sandboxes, containers, expected) in table {
        assert_eq!(
            decide(&two(policy), sandboxes, &containers, &Memory::default()),
            expected,
            "{policy} {sandboxes} {containers:?}"
        );
    }
}

#[test]
fn init_containers() {
    let spec = |policy: &str| {
        json!({"restartPolicy": policy, "containers": [{"name": "m"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}, {"name": "j"}]})
    };
    let table = [
        ("Always", "+", vec![], "start i#0"),
        ("Always", "+", vec!["i#0 run"], ""),
        ("Always", "+", vec!["i#0 1"], "start i#1"),
        ("Never", "+", vec!["i#0 1"], "done"),
        ("Always", "+", vec!["i#0 0"], "start s#0"),
        ("Always", "+", vec!["s#0 run", "i#0 0"], "start j#0"),
        ("Always", "+", vec!["j#0 run", "s#0 run", "i#0 0"], ""),
        ("Always", "+", vec!["j#0 run", "s#0 1", "i#0 0"], "start s#1"),
        ("Always", "+", vec!["j#0 0", "s#0 run", "i#0 0"], "start m#0"),
        // What the runtime has forgotten is not run again.
        ("Always", "+", vec!["j#0 0", "s#0 run"], "start m#0"),
        ("Always", "+", vec!["m#0 run", "s#0 run"], ""),
        ("Always", "+", vec!["m#0 run", "s#0 0"], "start s#1"),
        // The main container is done: the sidecar is not restarted.
        ("Never", "+", vec!["m#0 0", "s#0 1", "j#0 0", "i#0 0"], "done"),
        // A new sandbox is initialized anew.
        ("Always", "-+", vec!["m#0@0 137", "j#0@0 0", "s#0@0 137", "i#0@0 0"], "start i#1"),
    ];
    for (policy, sandboxes, containers, expected) in table {
        assert_eq!(
            decide(&spec(policy), sandboxes, &containers, &Memory::default()),
            expected,
            "{policy} {containers:?}"
        );
    }
}

#[test]
fn sidecars_hold_up_what_follows_until_they_have_started() {
    let probe = json!({"exec": {"command": ["x"]}});
    let spec = json!({"containers": [{"name": "m"}], "initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": probe}]});
    let mut memory = Memory::default();
    assert_eq!(decide(&spec, "+", &["s#0 run"], &memory), "");
    let id = ContainerId("s0".into());
    memory.probes.entry(id.clone()).or_default().startup = Some(true);
    assert_eq!(decide(&spec, "+", &["s#0 run"], &memory), "start m#0");
    memory.probes.entry(id).or_default().startup = Some(false);
    let ill = "stop s0: Init container s failed startup probe, will be restarted";
    assert_eq!(decide(&spec, "+", &["s#0 run"], &memory), ill);
}

#[test]
fn what_is_under_way_is_left_alone() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]});
    let busy = |name: &str, what| Memory { busy: [(name.to_owned(), what)].into(), ..Memory::default() };
    assert_eq!(decide(&spec, "+", &[], &busy("a", Busy::Starting)), "", "one start at a time");
    assert_eq!(decide(&spec, "+", &["a#0 run"], &busy("a", Busy::Stopping)), "start b#0");
    assert_eq!(decide(&spec, "+", &["a#0 0", "b#0 1"], &busy("b", Busy::Stopping)), "", "not done yet");
    assert_eq!(decide(&spec, "", &[], &Memory { making_sandbox: true, ..Memory::default() }), "");
    let failed = Memory { sandbox_retry_at: Some(at(101)), ..Memory::default() };
    assert_eq!(decide(&spec, "", &[], &failed), "");
    assert_eq!(decide(&spec, "", &[], &Memory { sandbox_retry_at: Some(at(100)), ..Memory::default() }), "sandbox 0");
}

#[test]
fn ill_and_changed_containers_are_stopped() {
    let always = json!({"restartPolicy": "Always", "containers": [{"name": "a"}]});
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}]});
    let mut memory = Memory::default();
    memory.probes.entry(ContainerId("a0".into())).or_default().liveness = Some(false);
    let stop = "stop a0: Container a failed liveness probe";
    assert_eq!(decide(&always, "+", &["a#0 run"], &memory), format!("{stop}, will be restarted"));
    assert_eq!(decide(&never, "+", &["a#0 run"], &memory), stop);
    let mut observed = seen("+", &["a#0 run"]);
    observed.containers[0].config.labels.insert(label::HASH.into(), "another".into());
    let changed = plan(&pod(never), &observed, &Memory::default(), at(0));
    assert_eq!(line(&changed), "stop a0: Container a definition changed, will be restarted");
}

#[test]
fn crashes_back_off_and_failures_wait() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "a", "image": "x"}]});
    let key = backoff_key(&pod(spec.clone()).spec.unwrap().containers[0]);
    let mut memory = Memory::default();
    // The first crash is restarted at once, and remembered.
    let first = plan(&pod(spec.clone()), &seen("+", &["a#0 1/95"]), &memory, at(100));
    let Action::Start { backoff: Some((k, entry)), .. } = &first.actions[0] else { panic!("{first:?}") };
    assert_eq!((k, entry.delay), (&key, SignedDuration::from_secs(10)));
    memory.restarts.insert(key.clone(), *entry);
    let waits = plan(&pod(spec.clone()), &seen("+", &["a#1 1/101"]), &memory, at(102));
    assert_eq!(line(&waits), "a waits: CrashLoopBackOff");
    assert_eq!(waits.waiting[0].1.message, "back-off 10s restarting failed container=a pod=p_ns(u)");
    assert_eq!((waits.wake, waits.backing_off.len()), (Some(at(111)), 1));
    let again = plan(&pod(spec.clone()), &seen("+", &["a#1 1/101"]), &memory, at(111));
    assert_eq!(line(&again), "start a#2");
    let Action::Start { backoff: Some((_, entry)), .. } = &again.actions[0] else { panic!("{again:?}") };
    assert_eq!(entry.delay, SignedDuration::from_secs(20));
    // A start that failed waits for its time, and shows what it has turned into.
    let error = |reason: &str| StartError { reason: reason.into(), message: String::new() };
    let failure = |at_| Failure {
        error: error("ErrImagePull"),
        retry_at: Some(at(110)),
        then: Some((at(at_), error("ImagePullBackOff"))),
    };
    let with = |failure| Memory { failures: [("a".to_owned(), failure)].into(), ..Memory::default() };
    let soon = plan(&pod(spec.clone()), &seen("+", &[]), &with(failure(101)), at(100));
    assert_eq!((line(&soon).as_str(), soon.wake), ("a waits: ErrImagePull", Some(at(101))));
    let then = plan(&pod(spec.clone()), &seen("+", &[]), &with(failure(100)), at(100));
    assert_eq!((line(&then).as_str(), then.wake), ("a waits: ImagePullBackOff", Some(at(110))));
    let due = plan(&pod(spec), &seen("+", &[]), &with(failure(100)), at(110));
    assert_eq!(line(&due), "start a#0, a waits: ImagePullBackOff");
}

#[test]
fn other_limits_are_given_to_what_runs() {
    let spec = |policy: &str| {
        json!({"containers": [{"name": "a", "resources": {"limits": {"memory": "2Mi"}},
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}]}]})
    };
    let mut observed = seen("+", &["a#0 run"]);
    let resources = &mut observed.containers[0].config.resources;
    (resources.cpu_shares, resources.memory_limit_bytes) = (Some(2), Some(1 << 20));
    let decide = |policy, observed: &Observed| line(&plan(&pod(spec(policy)), observed, &Memory::default(), at(0)));
    assert_eq!(decide("NotRequired", &observed), "resize a0 to Some(2097152)");
    let stop = "stop a0: Container a resize requires restart, will be restarted";
    assert_eq!(decide("RestartContainer", &observed), stop);
    observed.containers[0].config.resources.memory_limit_bytes = Some(2 << 20);
    assert_eq!(decide("RestartContainer", &observed), "");
}

#[test]
fn ephemeral_containers_run_once() {
    let spec = json!({"containers": [{"name": "m"}], "ephemeralContainers": [{"name": "debug"}]});
    assert_eq!(decide(&spec, "+", &["m#0 run"], &Memory::default()), "start debug#0");
    assert_eq!(decide(&spec, "+", &["m#0 run", "debug#0 1"], &Memory::default()), "");
}

#[test]
fn what_the_api_knows_and_the_runtime_has_forgotten_has_run_before() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    pod.status = serde_json::from_value(json!({"containerStatuses": [
        {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 4, "containerID": "isopod://x"}]}))
    .unwrap();
    assert_eq!(line(&plan(&pod, &seen("+", &[]), &Memory::default(), at(0))), "start a#5");
}
