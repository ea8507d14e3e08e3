//! What is shown of a pod, as JSON; and what is sent so that it is shown.
use super::*;
use insta::assert_json_snapshot;
use isopod_runtime::{
    ContainerConfig, ContainerId, ContainerStatus as Instance, Exit, ExitCause, ExitStatus, SandboxConfig, SandboxId,
    SandboxState, SandboxStatus,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 2}, "spec": spec}),
    )
    .unwrap()
}

fn instance(name: &str, attempt: u32, exit: Option<(u8, ExitCause)>) -> Instance {
    Instance {
        id: ContainerId(format!("{name}{attempt}")),
        sandbox: SandboxId("s".into()),
        state: if exit.is_some() { ContainerState::Exited } else { ContainerState::Running },
        config: ContainerConfig { name: name.into(), attempt, image: "web:v1".into(), ..Default::default() },
        created_at: at(i64::from(attempt)),
        started_at: Some(at(10)),
        exit: exit.map(|(code, cause)| Exit { at: at(20), status: ExitStatus::Code(code), cause }),
        pid: None,
    }
}

fn seen(containers: Vec<Instance>) -> Observed {
    let sandbox = SandboxStatus {
        id: SandboxId("s".into()),
        state: SandboxState::Ready,
        created_at: at(0),
        config: SandboxConfig::default(),
        netns_path: None,
    };
    Observed { address: Some("10.0.0.7".parse().unwrap()), ..Observed::new(vec![sandbox], containers) }
}

fn render(pod: &Pod, old: &PodStatus, seen: &Observed, memory: &Memory, is_final: bool, now: i64) -> PodStatus {
    let view = View {
        pod,
        spec: pod.spec.as_ref().unwrap(),
        old,
        seen,
        memory,
        waiting: &[],
        is_final,
        host: "192.0.2.1".parse().unwrap(),
        runtime: "isopod",
        now: at(now),
    };
    view.render()
}

fn ready(status: &PodStatus) -> &PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == "Ready").unwrap()
}

#[test]
fn a_running_pod() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "web"}]}));
    let memory = Memory { routable: true, ..Memory::default() };
    let status = render(&pod, &PodStatus::default(), &seen(vec![instance("a", 0, None)]), &memory, false, 30);
    assert_json_snapshot!(status, @r#"
    {
      "conditions": [
        {
          "lastTransitionTime": "2027-01-15T08:00:30Z",
          "observedGeneration": 2,
          "status": "True",
          "type": "PodReadyToStartContainers"
        },
        {
          "lastTransitionTime": "2027-01-15T08:00:30Z",
          "observedGeneration": 2,
          "status": "True",
          "type": "Initialized"
        },
        {
          "lastTransitionTime": "2027-01-15T08:00:30Z",
          "observedGeneration": 2,
          "status": "True",
          "type": "Ready"
        },
        {
          "lastTransitionTime": "2027-01-15T08:00:30Z",
          "observedGeneration": 2,
          "status": "True",
          "type": "ContainersReady"
        },
        {
          "lastTransitionTime": "2027-01-15T08:00:30Z",
          "observedGeneration": 2,
          "status": "True",
          "type": "PodScheduled"
        }
      ],
      "containerStatuses": [
        {
          "containerID": "isopod://a0",
          "image": "web:v1",
          "imageID": "",
          "lastState": {},
          "name": "a",
          "ready": true,
          "resources": {},
          "restartCount": 0,
          "started": true,
          "state": {
            "running": {
              "startedAt": "2027-01-15T08:00:10Z"
            }
          }
        }
      ],
      "hostIP": "192.0.2.1",
      "hostIPs": [
        {
          "ip": "192.0.2.1"
        }
      ],
      "observedGeneration": 2,
      "phase": "Running",
      "podIP": "10.0.0.7",
      "podIPs": [
        {
          "ip": "10.0.0.7"
        }
      ],
      "startTime": "2027-01-15T08:00:30Z"
    }
    "#);
    // Looking again later says the same: nothing is written.
    let again = render(&pod, &status, &seen(vec![instance("a", 0, None)]), &memory, false, 99);
    assert_eq!(again, status);
}

#[test]
fn readiness_waits_for_probes_gates_and_traffic() {
    let probe = json!({"exec": {"command": ["x"]}});
    let spec =
        json!({"containers": [{"name": "a", "readinessProbe": probe}], "readinessGates": [{"conditionType": "ok"}]});
    let mut pod = pod(spec);
    let observed = seen(vec![instance("a", 0, None)]);
    let mut memory = Memory::default();
    let shown = |pod: &Pod, memory: &Memory| {
        let status = render(pod, &PodStatus::default(), &observed, memory, false, 30);
        ready(&status).message.clone().unwrap_or_else(|| ready(&status).status.clone())
    };
    assert_eq!(shown(&pod, &memory), "containers with unready status: [a]");
    memory.probes.entry(ContainerId("a0".into())).or_default().readiness = Some(true);
    assert_eq!(shown(&pod, &memory), "corresponding condition of pod readiness gate \"ok\" does not exist.");
    pod.status = serde_json::from_value(json!({"conditions": [{"type": "ok", "status": "True"}]})).unwrap();
    assert_eq!(shown(&pod, &memory), "the node's proxies do not send connections to the pod yet");
    memory.routable = true;
    assert_eq!(shown(&pod, &memory), "True");
}

/// State, last state, restarts, ready.
fn container(status: &PodStatus) -> String {
    let c = &status.container_statuses.as_ref().unwrap()[0];
    let words = |s: &Option<isopod_api::k8s::api::core::v1::ContainerState>| {
        let s = s.clone().unwrap_or_default();
        match (s.waiting, s.running, s.terminated) {
            (Some(w), ..) => format!("waiting {}", w.reason.unwrap_or_default()),
            (_, Some(_), _) => "running".to_owned(),
            (.., Some(t)) => {
                format!("ended {} {} {}", t.exit_code, t.reason.unwrap_or_default(), t.message.unwrap_or_default())
            }
            _ => "-".to_owned(),
        }
    };
    format!("{}; {}; {}; {}", words(&c.state), words(&c.last_state), c.restart_count, status.phase.as_deref().unwrap())
}

#[test]
fn ends_and_restarts() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "web"}]});
    let show = |policy: &str, instances: Vec<Instance>, is_final| {
        container(&render(
            &pod(spec(policy)),
            &PodStatus::default(),
            &seen(instances),
            &Memory::default(),
            is_final,
            30,
        ))
    };
    let oom = Some((137, ExitCause::OutOfMemory));
    let failed = Some((128, ExitCause::StartFailed { message: "no such file".into() }));
    let ended = |code| Some((code, ExitCause::Ended));
    assert_eq!(show("Always", vec![], false), "waiting ContainerCreating; -; 0; Pending");
    assert_eq!(show("Never", vec![instance("a", 0, ended(0))], false), "ended 0 Completed ; -; 0; Succeeded");
    assert_eq!(show("Never", vec![instance("a", 0, oom.clone())], false), "ended 137 OOMKilled ; -; 0; Failed");
    assert_eq!(show("Never", vec![instance("a", 0, failed)], false), "ended 128 StartError no such file; -; 0; Failed");
    let twice = vec![instance("a", 3, None), instance("a", 2, oom)];
    assert_eq!(show("Always", twice, false), "running; ended 137 OOMKilled ; 3; Running");
    assert_eq!(show("Always", vec![instance("a", 0, ended(0))], true), "ended 0 Completed ; -; 0; Succeeded");
    let lost =
        "ended 137 ContainerStatusUnknown The container could not be located when the pod was terminated; -; 0; Failed";
    assert_eq!(show("Always", vec![], true), lost, "a pod that is deleted before it ran has failed");
}

#[test]
fn what_was_running_and_is_gone_has_ended() {
    let pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "a", "image": "web"}]}));
    let old = render(&pod, &PodStatus::default(), &seen(vec![instance("a", 1, None)]), &Memory::default(), false, 30);
    let now = render(&pod, &old, &seen(vec![]), &Memory::default(), false, 40);
    let gone = "The container could not be located when the pod was deleted.  The container used to be Running";
    assert_eq!(
        container(&now),
        format!("waiting ContainerCreating; ended 137 ContainerStatusUnknown {gone}; 2; Running")
    );
}

#[test]
fn patches_take_away_and_leave_alone() {
    let wanted = PodStatus {
        phase: Some("Running".into()),
        conditions: Some(vec![PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            ..PodCondition::default()
        }]),
        pod_ips: Some(vec![PodIP { ip: "10.0.0.8".into() }]),
        pod_ip: Some("10.0.0.8".into()),
        ..PodStatus::default()
    };
    let known = PodStatus {
        message: Some("old".into()),
        pod_ips: Some(vec![PodIP { ip: "10.0.0.7".into() }]),
        ..PodStatus::default()
    };
    assert_json_snapshot!(patch(&wanted, Some(&known)).unwrap(), @r#"
    {
      "conditions": [
        {
          "message": null,
          "reason": null,
          "status": "True",
          "type": "Ready"
        }
      ],
      "message": null,
      "phase": "Running",
      "podIP": "10.0.0.8",
      "podIPs": [
        {
          "$patch": "replace"
        },
        {
          "ip": "10.0.0.8"
        }
      ]
    }
    "#);
    assert!(is_overwritten(&wanted, &known));
    assert!(!is_overwritten(&wanted, &wanted));
}
