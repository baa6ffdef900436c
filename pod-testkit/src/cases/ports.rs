//! Ports published on the engine's machine.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{Capability, ErrorKind, PublishedPort, StopRequest, WorkloadName, WorkloadSpec};
use std::time::Duration;

cases! { "ports":
    a_published_port_answers [Create, Ports];
    a_port_of_the_machine_is_taken_once [Create, Ports];
}

const PORT: u16 = 7401;

/// A workload that says a word to everybody who comes to its port.
fn listener(lab: &Lab) -> Result<WorkloadSpec, Failure> {
    let script =
        format!("nc=nc; command -v nc >/dev/null || nc='busybox nc'; while :; do echo hello | $nc -l -p {PORT}; done");
    Ok(lab.script(&script)?.with_port(PublishedPort::new(PORT)))
}

/// Where a running workload's one port is.
async fn place(lab: &Lab, name: &WorkloadName) -> Result<PublishedPort, Failure> {
    let ports = lab.backend().inspect(name).await?.ports;
    let [port] = ports[..] else { return Err(Failure::new(format!("one port is published, and told are {ports:?}"))) };
    ensure_eq!((port.port, port.address), (PORT, PublishedPort::new(PORT).address), "the port");
    ensure!(port.host_port != 0, "no port of the machine was chosen");
    Ok(port)
}

/// What a port of the engine's machine says to who comes there.
async fn said(words: &[String], port: PublishedPort) -> Result<String, Failure> {
    let script = r#"exec 3<>"/dev/tcp/$0/$1" && read -r -t 5 line <&3 && echo "$line""#;
    let asking = ["bash", "-c", script, &port.address.to_string(), &port.host_port.to_string()].map(str::to_owned);
    let all: Vec<&String> = words.iter().chain(&asking).collect();
    let out = tokio::process::Command::new(all[0]).args(&all[1..]).kill_on_drop(true).output().await?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

async fn a_published_port_answers(lab: &Lab) -> Outcome {
    let name = lab.start(listener(lab)?).await?.spec.name;
    let port = place(lab, &name).await?;
    if let Some(words) = &lab.target().machine {
        lab.eventually(10_000, "the published port answers", || async { Ok(said(words, port).await? == "hello\n") })
            .await?;
    }
    if lab.has(Capability::StartStop) {
        lab.backend().stop(StopRequest::new(name.clone()).with_grace(Duration::ZERO)).await?;
        ensure_eq!(lab.backend().inspect(&name).await?.ports, [], "the ports of one that does not run");
        if let Some(words) = &lab.target().machine {
            ensure_eq!(said(words, port).await?, "", "what the port of one that does not run says");
        }
    }
    Ok(())
}

async fn a_port_of_the_machine_is_taken_once(lab: &Lab) -> Outcome {
    let first = lab.start(listener(lab)?).await?.spec.name;
    let port = place(lab, &first).await?;
    let second = lab.spec()?.with_port(PublishedPort::new(PORT).with_host(port.host()));
    let name = second.name.clone();
    expect_error(lab.start(second).await, ErrorKind::Conflict, "a port that is taken")?;
    expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;
    Ok(())
}
