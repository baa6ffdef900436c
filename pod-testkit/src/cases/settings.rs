//! What a workload is made with arrives.

use crate::case::{address, cases, ensure, ensure_eq, expect_error};
use crate::{Lab, Outcome};
use pod_core::{
    Capabilities, Capability, CreateRequest, ErrorKind, ExitStatus, Mount, MountSource, PublishedPort, RestartPolicy,
};

cases! { "lifecycle":
    the_spec_is_kept [Create];
    the_commands_argv_is_kept [Create, Exec];
    the_environment_arrives [Create, Env, Exec];
    the_working_directory_arrives [Create, Cwd, Exec];
    the_user_arrives [Create, User, Exec];
    the_hosts_are_known [Create, Exec];
    a_bad_spec_is_refused [Create];
    the_backend_says_what_it_is [];
}

async fn the_spec_is_kept(lab: &Lab) -> Outcome {
    let mut spec = lab.spec()?.with_command(["sleep", "3600", "a b", ""]);
    if lab.has(Capability::Env) {
        spec = spec.with_env("A", "one two").with_env("EMPTY", "");
    }
    if lab.has(Capability::Labels) {
        spec = spec.with_label("app", "web=1");
    }
    if lab.has(Capability::KeepAlive) {
        spec = spec.with_keep_alive(true);
    }
    lab.made(spec.clone()).await?;
    let found = lab.backend().inspect(&spec.name).await?.spec;
    ensure_eq!(found.command, spec.command, "the command");
    ensure_eq!(found.keep_alive, spec.keep_alive, "keep-alive");
    for (key, value) in &spec.env {
        ensure_eq!(found.env.get(key), Some(value), "the variable {key}");
    }
    for (key, value) in &spec.labels {
        ensure_eq!(found.labels.get(key), Some(value), "the label {key}");
    }
    Ok(())
}

/// Starts a workload whose command writes to `/tmp/out` what a script prints, and reads it.
async fn told(lab: &Lab, spec: pod_core::WorkloadSpec) -> Result<String, crate::Failure> {
    let name = lab.start(spec.with_keep_alive(false)).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    lab.eventually(5000, "the command wrote its file", || async {
        Ok(lab.sh(&*connection, "test -e /tmp/done && echo yes || echo no").await? == "yes\n")
    })
    .await?;
    lab.sh(&*connection, "cat /tmp/out").await
}

const WRITE: &str = " >/tmp/out; : >/tmp/done; sleep 3600";

async fn the_commands_argv_is_kept(lab: &Lab) -> Outcome {
    let script = format!("for a; do printf '[%s]' \"$a\"; done{WRITE}");
    let args = ["a b", "", "$HOME", "'quoted' \"twice\"", "*", "back\\slash", "-n", "new\nline", "grüße"];
    let mut command = vec!["sh", "-c", &script, "sh"];
    command.extend(args);
    let found = told(lab, lab.spec()?.with_command(command)).await?;
    let expected: String = args.iter().map(|a| format!("[{a}]")).collect();
    ensure_eq!(found, expected, "the arguments");
    Ok(())
}

async fn the_environment_arrives(lab: &Lab) -> Outcome {
    let spec = lab.script(&format!("printf '%s|%s|%s' \"$ONE\" \"$TWO\" \"${{EMPTY-unset}}\"{WRITE}"))?;
    let spec = spec.with_env("ONE", "a b $HOME").with_env("TWO", "x=y\"'").with_env("EMPTY", "");
    ensure_eq!(told(lab, spec).await?, "a b $HOME|x=y\"'|", "the variables");
    Ok(())
}

async fn the_working_directory_arrives(lab: &Lab) -> Outcome {
    let spec = lab.script(&format!("pwd{WRITE}"))?.with_cwd("/usr");
    ensure_eq!(told(lab, spec).await?, "/usr\n", "the working directory");
    Ok(())
}

async fn the_user_arrives(lab: &Lab) -> Outcome {
    let spec = lab.script(&format!("echo $(id -u) $(id -g){WRITE}"))?.with_user("1234:4321");
    ensure_eq!(told(lab, spec).await?, "1234 4321\n", "the user and group");
    Ok(())
}

async fn the_hosts_are_known(lab: &Lab) -> Outcome {
    let mut spec = lab.spec()?;
    spec.hosts.insert("other.example".into(), address("10.20.30.40")?);
    let name = lab.start(spec).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    let hosts = lab.sh(&*connection, "cat /etc/hosts").await?;
    let known = hosts.lines().any(|l| {
        let mut words = l.split_whitespace();
        words.next() == Some("10.20.30.40") && words.any(|w| w == "other.example")
    });
    ensure!(known, "/etc/hosts does not name it: {hosts:?}");
    Ok(())
}

async fn a_bad_spec_is_refused(lab: &Lab) -> Outcome {
    let spec = lab.spec()?;
    let mut bad = vec![
        ("an empty program", spec.clone().with_command([""])),
        ("a zero byte", spec.clone().with_command(["a\0b"])),
        ("a variable's name", spec.clone().with_env("A=B", "x")),
        ("a relative directory", spec.clone().with_cwd("tmp")),
        ("a label with white space", spec.clone().with_label("a b", "x")),
    ];
    let limits = |l: pod_core::Limits| spec.clone().with_limits(l);
    bad.push(("no memory", limits(pod_core::Limits::default().with_memory(1))));
    bad.push(("no processes", limits(pod_core::Limits::default().with_pids(0))));
    bad.push(("no CPU", limits(pod_core::Limits::default().with_cpus(0.0))));
    let mount = |m: Mount| spec.clone().with_mount(m);
    bad.push(("a relative mount", mount(Mount::new(MountSource::Host("tmp".into()), "/tmp"))));
    bad.push(("a mount at the root", mount(Mount::new(MountSource::Tmpfs(1 << 20), "/"))));
    bad.push(("no port", spec.clone().with_port(PublishedPort::new(0))));
    bad.push(("both kept and started again", spec.clone().with_keep_alive(true).with_restart(RestartPolicy::Always)));
    for (what, spec) in bad {
        let made = lab.made(spec).await;
        expect_error(made, ErrorKind::InvalidInput, what)?;
    }
    expect_error(lab.backend().inspect(&spec.name).await, ErrorKind::NotFound, "what they left")?;
    if lab.has(Capability::User) {
        let spec = lab.spec()?.with_user("no-such-user-anywhere");
        let name = spec.name.clone();
        let made = lab.backend().create(CreateRequest::new(spec).with_start()).await;
        ensure!(made.is_err(), "a user that is none was taken: {made:?}");
        expect_error(lab.backend().inspect(&name).await, ErrorKind::NotFound, "what it left")?;
    }
    Ok(())
}

async fn the_backend_says_what_it_is(lab: &Lab) -> Outcome {
    let backend = lab.backend();
    lab.within(5000, "the ping", backend.ping()).await??;
    let info = backend.info();
    ensure_eq!(info.uri.scheme(), lab.target().uri.scheme(), "the scheme");
    ensure!(
        !info.product.is_empty() && !info.version.is_empty() && !info.os.is_empty(),
        "something is empty: {info:?}"
    );
    ensure!(!ExitStatus::Unknown.success(), "a lost status is no success");
    ensure!(backend.capabilities() == backend.capabilities(), "the capabilities change from call to call");
    ensure!(!lab.has(Capability::Networks) || backend.networking().is_some(), "there is no networking");
    let (registry, uri) = (&lab.target().registry, &lab.target().uri);
    let all = registry.connect(uri).await?.capabilities();
    let few = registry.connect_for(uri, Capabilities::none()).await?.capabilities();
    ensure!(few.iter().all(|c| all.has(c)), "who wants nothing gets more: {few:?}, and else {all:?}");
    let may_go = |c: Capability| c.path().starts_with("network.") || c.path().starts_with("lifecycle.limit_");
    let gone: Vec<_> = all.iter().filter(|c| !few.has(*c) && !may_go(*c)).collect();
    ensure!(gone.is_empty(), "who wants neither networks nor limits is not told of {gone:?}");
    let wanted = registry.connect_for(uri, Capabilities::none().with(Capability::LimitMemory)).await?.capabilities();
    ensure_eq!(wanted.has(Capability::LimitMemory), all.has(Capability::LimitMemory), "the limit that was wanted");
    Ok(())
}
