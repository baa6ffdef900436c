//! What a `host` workload may not see or touch of the host.

use crate::Bench;
use crate::bench_root::spec;

#[tokio::test]
async fn the_hosts_secrets_are_hidden() {
    let bench = Bench::new().await;
    let secret = "the-hosts-own-words";
    let host_file = tempfile::Builder::new().prefix("pod-secret-").tempfile_in("/root").unwrap();
    std::fs::write(host_file.path(), secret).unwrap();
    bench.run(spec("w", &["sleep", "600"])).await;

    let out = bench
        .sh("w", "ls -A /root /home /tmp /run; cat /etc/shadow; ls -A /etc/ssh 2>/dev/null | grep key$; true")
        .await;
    let text = out.stdout_text();
    assert!(!text.contains("pod-secret-"), "{text}");
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    for line in shadow.lines().filter(|l| !l.starts_with("root:")) {
        assert!(!text.contains(line), "a line of the host's shadow file shows");
    }
    assert!(!text.contains("ssh_host_"), "{text}");

    // What it writes stays its own.
    bench.sh("w", "echo mine >/root/x; echo mine >/etc/passwd").await;
    assert!(!std::path::Path::new("/root/x").exists());
    assert!(!std::fs::read_to_string("/etc/passwd").unwrap().contains("mine"));
    bench.remove("w").await;
    bench.assert_nothing_left();
}

#[tokio::test]
async fn the_engines_own_files_are_hidden() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    let lib = bench.root.path().join("lib");
    let out = bench.sh("w", &format!("ls -A {} 2>&1; true", lib.display())).await;
    assert!(!out.stdout_text().contains("workloads"), "{}", out.stdout_text());
    bench.remove("w").await;
}

#[tokio::test]
async fn pid_1_can_be_neither_killed_nor_traced_nor_written() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    let before = std::fs::read(std::env::var_os("POD_SHIM").unwrap()).unwrap();
    let script = "kill -9 1; kill -TERM 1; echo x 2>/dev/null >/proc/1/exe; cat /proc/1/environ >/dev/null 2>&1 && echo readable; readlink /proc/1/fd/3 && echo shown; cat /proc/1/fd/3 2>/dev/null && echo read; sleep 0.1; echo alive";
    let out = bench.sh("w", script).await;
    assert_eq!(out.stdout_text(), "alive\n", "{}", out.stderr_text());
    assert_eq!(before, std::fs::read(std::env::var_os("POD_SHIM").unwrap()).unwrap());
    assert_eq!(bench.sh("w", "echo still").await.stdout_text(), "still\n");
    bench.remove("w").await;
}

#[tokio::test]
async fn programs_hold_no_descriptor_of_the_engine() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    // 3 is the listing's own; a descriptor of a folder of the host's would be a way out (CVE-2024-21626).
    let out = bench.sh("w", "ls /proc/self/fd; readlink /proc/self/cwd").await;
    assert_eq!(out.stdout_text(), "0\n1\n2\n3\n/\n");
    bench.remove("w").await;
}

#[tokio::test]
async fn capabilities_and_new_privileges_are_dropped() {
    let bench = Bench::new().await;
    bench.run(spec("w", &["sleep", "600"])).await;
    let out = bench.sh("w", "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status").await.stdout_text();
    assert!(out.contains("NoNewPrivs:\t1"), "{out}");
    assert!(out.contains("CapEff:\t00000000a80425fb") && out.contains("CapBnd:\t00000000a80425fb"), "{out}");
    let out = bench
        .sh(
            "w",
            "mount -t tmpfs x /mnt 2>&1; echo 1 2>&1 >/proc/sys/kernel/hostname; cat /proc/kcore | head -c 1 | wc -c",
        )
        .await;
    let text = format!("{}{}", out.stdout_text(), out.stderr_text());
    assert!(text.contains("denied") || text.contains("permitted"), "{text}");
    assert!(text.contains("ead-only"), "{text}");
    bench.remove("w").await;
}
