//! Programs run in a workload: what they are given, and how they end.

use crate::case::{cases, ensure, ensure_eq, expect_error};
use crate::{Failure, Lab, Outcome};
use pod_core::{Capability, ConnectionExt, ErrorKind, ExecRequest, ExitStatus, StopRequest};

cases! { "exec":
    exit_codes_are_told [Create, Exec];
    death_by_a_signal_is_told [Create, Exec];
    argv_is_kept [Create, Exec];
    argv_may_hold_any_bytes [Create, Exec, ExecBytes];
    the_environment_is_added_to [Create, Exec, ExecEnv];
    the_workloads_environment_is_there [Create, Exec, Env, ExecEnv];
    the_working_directory_is_chosen [Create, Exec, ExecCwd];
    the_user_is_chosen [Create, Exec, ExecUser];
    a_missing_program_is_127 [Create, Exec];
    a_file_that_is_no_program_is_126 [Create, Exec];
    a_stopped_workload_is_refused [Create, Exec];
    nonsense_is_refused [Create, Exec];
    sixteen_at_once [Create, Exec];
    the_path_is_searched [Create, Exec, ExecEnv];
}

async fn exit_codes_are_told(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for code in [0, 1, 7, 127, 255] {
        let out = connection.run(ExecRequest::new(["sh", "-c", &format!("exit {code}")])).await?;
        ensure_eq!(out.status, ExitStatus::Exited(code), "the status");
    }
    let mut process = connection.exec(ExecRequest::new(["sh", "-c", "exit 9"])).await?;
    for when in ["once", "twice"] {
        ensure_eq!(process.wait().await?, ExitStatus::Exited(9), "the status, asked {when}");
    }
    Ok(())
}

async fn death_by_a_signal_is_told(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for (n, name) in [(9u8, "KILL"), (15, "TERM")] {
        let out = connection.run(ExecRequest::new(["sh", "-c", &format!("kill -{name} $$; sleep 5")])).await?;
        let expected = if lab.has(pod_core::Capability::ExecSignalStatus) {
            ExitStatus::Signaled(n)
        } else {
            ExitStatus::Exited(128 + n)
        };
        ensure_eq!(out.status, expected, "the status after SIG{name}");
    }
    Ok(())
}

/// Runs a script that prints each argument with a zero byte behind it.
async fn echoed(lab: &Lab, connection: &dyn pod_core::Connection, args: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut request = ExecRequest::new(["sh", "-c", "for a; do printf '%s\\0' \"$a\"; done", "sh"]);
    request.argv.extend(args.iter().cloned());
    let out = lab.run(connection, request).await?;
    ensure!(out.status.success(), "the script {}: {}", out.status, out.stderr_text());
    let mut parts: Vec<_> = out.stdout.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
    ensure_eq!(parts.pop(), Some(Vec::new()), "what comes after the last argument");
    Ok(parts)
}

async fn argv_is_kept(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let args: Vec<Vec<u8>> = [
        "plain",
        "two words",
        "",
        " leading and trailing ",
        "'single'",
        "\"double\"",
        "$HOME",
        "${x}",
        "$(id)",
        "`id`",
        "*",
        "?",
        "~",
        ";",
        "&&",
        "|",
        ">file",
        "#no comment",
        "\\",
        "\\n",
        "a\\\\b",
        "-n",
        "--",
        "=",
        "tab\there",
        "line\nbreak",
        "\r",
        "%s%d",
        "!x",
        "grüße",
        "日本",
        "\u{1f600}",
    ]
    .map(|s| s.as_bytes().to_vec())
    .to_vec();
    ensure_eq!(echoed(lab, &*connection, &args).await?, args, "the arguments");
    let long = vec![vec![b'x'; 100_000]];
    ensure!(echoed(lab, &*connection, &long).await? == long, "an argument of 100,000 bytes was changed");
    Ok(())
}

async fn argv_may_hold_any_bytes(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let args = vec![vec![0xff, 0xfe], (1..=255).collect::<Vec<u8>>(), b"\xc3(".to_vec()];
    ensure_eq!(echoed(lab, &*connection, &args).await?, args, "the arguments");
    Ok(())
}

async fn the_environment_is_added_to(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let request =
        ExecRequest::new(["sh", "-c", "printf '%s|%s|%s|' \"$ONE\" \"${EMPTY-unset}\" \"$LINES2\"; echo $PATH"])
            .with_env("ONE", "a b $HOME 'x'")
            .with_env("EMPTY", "")
            .with_env("LINES2", "a\nb");
    let out = connection.run(request).await?.stdout_text();
    let path =
        out.strip_prefix("a b $HOME 'x'||a\nb|").ok_or_else(|| Failure::new(format!("the variables: {out:?}")))?;
    ensure!(path.contains("/bin"), "the PATH is lost: {path:?}");
    // Only for this program.
    let out = lab.sh(&*connection, "echo ${ONE-unset}").await?;
    ensure_eq!(out, "unset\n", "the variable in the next program");
    Ok(())
}

async fn the_workloads_environment_is_there(lab: &Lab) -> Outcome {
    let name = lab.start(lab.spec()?.with_env("OWN", "mine").with_env("BOTH", "workload")).await?.spec.name;
    let connection = lab.backend().connect(&name).await?;
    let request = ExecRequest::new(["sh", "-c", "echo $OWN $BOTH"]).with_env("BOTH", "exec");
    let out = connection.run(request).await?.stdout_text();
    ensure_eq!(out, "mine exec\n", "the variables");
    Ok(())
}

async fn the_working_directory_is_chosen(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let out = connection.run(ExecRequest::new(["pwd"]).with_cwd("/usr")).await?;
    ensure_eq!(out.stdout_text(), "/usr\n", "the working directory");
    let missing = connection.run(ExecRequest::new(["pwd"]).with_cwd("/no/such/directory")).await;
    ensure!(missing.is_err(), "a program ran in a directory that is not there: {missing:?}");
    Ok(())
}

async fn the_user_is_chosen(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for (user, expected) in [("1234:4321", "1234 4321\n"), ("root", "0 0\n"), ("0", "0 0\n")] {
        let request = ExecRequest::new(["sh", "-c", "echo $(id -u) $(id -g)"]).with_user(user);
        ensure_eq!(connection.run(request).await?.stdout_text(), expected, "user and group of {user}");
    }
    // A user is bound by permissions.
    lab.sh(&*connection, "echo secret >/tmp/secret; chmod 600 /tmp/secret").await?;
    let out = connection.run(ExecRequest::new(["cat", "/tmp/secret"]).with_user("1234:4321")).await?;
    ensure!(!out.status.success() && out.stdout.is_empty(), "another user's file was read: {:?}", out.stdout_text());
    let unknown = connection.run(ExecRequest::new(["true"]).with_user("no-such-user-anywhere")).await;
    ensure!(unknown.is_err(), "a program ran as a user that is none: {unknown:?}");
    Ok(())
}

async fn a_missing_program_is_127(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    for program in ["no-such-program-anywhere", "/no/such/program", "./none"] {
        let result = connection.exec(ExecRequest::new([program])).await;
        let e = expect_error(result, ErrorKind::CommandFailed, program)?;
        ensure_eq!(e.exit_code(), Some(127), "the exit code for {program}");
        ensure!(e.to_string().contains(program.trim_start_matches("./")), "the error does not name {program}: {e}");
    }
    Ok(())
}

async fn a_file_that_is_no_program_is_126(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "echo not a program >/tmp/data; chmod 644 /tmp/data").await?;
    for file in ["/tmp/data", "/tmp"] {
        let result = connection.exec(ExecRequest::new([file])).await;
        let e = expect_error(result, ErrorKind::CommandFailed, file)?;
        ensure_eq!(e.exit_code(), Some(126), "the exit code for {file}");
    }
    Ok(())
}

async fn a_stopped_workload_is_refused(lab: &Lab) -> Outcome {
    let (name, connection) = lab.running().await?;
    if lab.has(Capability::StartStop) {
        lab.backend().stop(StopRequest::new(name).with_grace(std::time::Duration::ZERO)).await?;
        expect_error(connection.exec(ExecRequest::new(["true"])).await, ErrorKind::WrongState, "a stopped one")?;
    }
    let connection = lab.backend().connect(&lab.idle().await?).await?;
    let result = connection.exec(ExecRequest::new(["true"])).await;
    expect_error(result, ErrorKind::WrongState, "one that does not run")?;
    Ok(())
}

async fn nonsense_is_refused(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    let none: [&str; 0] = [];
    for (what, request) in [
        ("no program", ExecRequest::new(none)),
        ("an empty program", ExecRequest::new([""])),
        ("a zero byte", ExecRequest::new(["echo", "a\0b"])),
        ("a relative directory", ExecRequest::new(["pwd"]).with_cwd("tmp")),
        ("a variable without a name", ExecRequest::new(["env"]).with_env("", "x")),
    ] {
        expect_error(connection.exec(request).await, ErrorKind::InvalidInput, what)?;
    }
    Ok(())
}

async fn sixteen_at_once(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    // Each waits for all the others.
    let script = |i| {
        format!(
            ": >/tmp/here{i}; for t in $(seq 500); do set -- /tmp/here*; [ $# = 16 ] && echo {i} && exit {i}; sleep 0.05; done; exit 99"
        )
    };
    let runs = (0..16u8).map(|i| {
        let request = ExecRequest::new(["sh", "-c", &script(i)]);
        let connection = connection.clone();
        async move { connection.run(request).await }
    });
    let all = lab.within(30_000, "sixteen programs", futures_util::future::join_all(runs)).await?;
    for (i, out) in (0..16u8).zip(all) {
        let out = out?;
        ensure_eq!(out.status, ExitStatus::Exited(i), "the status of program {i}");
        ensure_eq!(out.stdout_text(), format!("{i}\n"), "the output of program {i}");
    }
    Ok(())
}

async fn the_path_is_searched(lab: &Lab) -> Outcome {
    let (_, connection) = lab.running().await?;
    lab.sh(&*connection, "mkdir /tmp/own; printf '#!/bin/sh\\necho own\\n' >/tmp/own/cat; chmod 755 /tmp/own/cat")
        .await?;
    let request = ExecRequest::new(["cat", "/etc/hostname"]).with_env("PATH", "/tmp/own:/usr/bin:/bin");
    ensure_eq!(connection.run(request).await?.stdout_text(), "own\n", "which program ran");
    Ok(())
}
