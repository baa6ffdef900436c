use crate::ExitStatus::{self, Exited, Signaled};
use crate::mem::MemBackend;
use crate::{Backend, ConnectionExt, CreateRequest, ExecRequest, Output, WorkloadName, WorkloadSpec};

/// Scripts, what a POSIX shell (dash 0.5.12) prints to stdout for them, and how it ends.
const SCRIPTS: &[(&str, &str, ExitStatus)] = &[
    ("echo \"a  b\" c   d 'e\"f' \"g'h\" \\$x '$y' \"\"x", "a  b c d e\"f g'h $x $y x\n", Exited(0)),
    (
        "x=1; x=$((x + 41)); echo $x; echo \"${#x}\" ${x%2} ${x#4} ${u-def} ${u:-} ${x:+set} ${u+set}.",
        "42\n2 4 2 def set .\n",
        Exited(0),
    ),
    ("for i in 1 2 3; do echo $i; if [ $i = 2 ]; then break; fi; done; echo done", "1\n2\ndone\n", Exited(0)),
    ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); [ $i = 2 ] && continue; echo $i; done", "1\n3\n", Exited(0)),
    (
        "case abc in x) echo x;; a*|b) echo yes;; *) echo no;; esac; case \"*\" in \"*\") echo star;; esac",
        "yes\nstar\n",
        Exited(0),
    ),
    ("f() { echo \"$# $1 $2\"; return 3; }; f \"a b\" c; echo $?", "2 a b c\n3\n", Exited(0)),
    (
        "set -- a \"b c\" d; echo $# \"$2\"; shift; echo \"$*\"; for x; do echo \"[$x]\"; done; for x in \"$@\" e; do echo \"<$x>\"; done",
        "3 b c\nb c d\n[b c]\n[d]\n<b c>\n<d>\n<e>\n",
        Exited(0),
    ),
    (
        "echo a | { read x; echo \"got $x\"; }; printf '1\\n2\\n3\\n' | while read n; do echo \"n=$n\"; done",
        "got a\nn=1\nn=2\nn=3\n",
        Exited(0),
    ),
    ("x=$(echo hi; echo there); echo \"$x\"; echo $x; echo `echo back`", "hi\nthere\nhi there\nback\n", Exited(0)),
    ("exit 7", "", Exited(7)),
    ("true && echo t || echo f; false && echo t || echo f; ! true; echo $?", "t\nf\n1\n", Exited(0)),
    ("(exit 4); echo $?; (x=5; echo $x); echo \"${x-unset}\"", "4\n5\nunset\n", Exited(0)),
    ("echo out; echo err >&2; { echo both; echo e2 >&2; } 2>&1 >/dev/null", "out\ne2\n", Exited(0)),
    (
        "echo one >/tmp/pod-sh-t; echo two >>/tmp/pod-sh-t; cat </tmp/pod-sh-t; rm /tmp/pod-sh-t",
        "one\ntwo\n",
        Exited(0),
    ),
    ("cat <<E\nx=$((1+1)) $HOME_X \\$y\nE\n", "x=2  $y\n", Exited(0)),
    ("cat <<'E'\n$x\nE\n", "$x\n", Exited(0)),
    ("trap 'echo bye' EXIT; echo hi; exit 3", "hi\nbye\n", Exited(3)),
    ("trap 'echo term' TERM; kill -TERM $$; echo after", "term\nafter\n", Exited(0)),
    ("kill -9 $$; echo never", "", Signaled(9)),
    (
        "IFS=:; set -- $(echo a:b::c); echo $# \"$4\"; x=\"1:2\"; for i in $x; do echo $i; done",
        "4 c\n1\n2\n",
        Exited(0),
    ),
    ("x=\"a b\"; set -- $x \"$x\"; echo $#; y='*'; echo \"$y\"", "3\n*\n", Exited(0)),
    ("printf '%s|%5d|%-3s|%x\\n' a 42 b 255; printf '\\101\\n'", "a|   42|b  |ff\nA\n", Exited(0)),
    ("nosuchprogram; echo $?", "127\n", Exited(0)),
    ("/; echo $?", "126\n", Exited(0)),
    ("set -e; false; echo never", "", Exited(1)),
    ("set -e; if false; then :; fi; false || true; echo here; (exit 3); echo never", "here\n", Exited(3)),
    (": ${U:?no value}; echo never", "", Exited(2)),
    ("cd /tmp && pwd; cd /nonexistent-dir 2>/dev/null || echo failed", "/tmp\nfailed\n", Exited(0)),
    ("export A=1; B=2; C=3 sh -c 'echo \"$A$B$C\"'", "13\n", Exited(0)),
    ("command -v sh >/dev/null && echo has; command -v nosuchprogram || echo hasnot", "has\nhasnot\n", Exited(0)),
    ("echo $((7/2)) $((7%2)) $((1<2)) $((3 > 2 ? 10 : 20)) $(( (1+2) * 3 ))", "3 1 1 10 9\n", Exited(0)),
    ("sleep 0.1 & wait; echo $?; sh -c 'exit 5' & wait $!; echo $?", "0\n5\n", Exited(0)),
    ("sh -c 'kill -TERM $$'; echo $?", "143\n", Exited(0)),
    ("x=abc.tar.gz; echo ${x%.*} ${x%%.*} ${x#*.} ${x##*.}", "abc.tar abc tar.gz gz\n", Exited(0)),
    ("a=1; f() { local a=2; b=3; echo $a; }; f; echo $a $b", "2\n1 3\n", Exited(0)),
    ("eval 'x=5; echo $x'; x='echo $((x+1))'; x=6; eval \"echo $x\"", "5\n6\n", Exited(0)),
    ("until false; do echo once; break; done", "once\n", Exited(0)),
    ("exec echo replaced; echo never", "replaced\n", Exited(0)),
    ("printf 'a\\nb\\n' | wc -l; echo 'x'\"y\"z", "2\nxyz\n", Exited(0)),
    ("yes | head -n 2", "y\ny\n", Exited(0)),
    (
        "[ -d / ] && [ ! -e /nonexistent ] && [ a != b ] && [ 1 -lt 2 ] && echo ok; [ \"\" ]; echo $?",
        "ok\n1\n",
        Exited(0),
    ),
    ("if false; then echo a; elif true; then echo b; else echo c; fi", "b\n", Exited(0)),
    (
        "unset x; echo \"${x-none}\"; x=; echo \"${x-none}${x:-empty}\"; echo \"${y:=set}\" $y",
        "none\nempty\nset set\n",
        Exited(0),
    ),
    ("\"$(echo echo)\" computed; $EMPTY echo gone", "computed\ngone\n", Exited(0)),
    ("read a b <<E\n1 2 3\nE\necho \"$a|$b\"", "1|2 3\n", Exited(0)),
    ("echo a#b #comment", "a#b\n", Exited(0)),
    ("false; echo $?; echo $#", "1\n0\n", Exited(0)),
    ("f() { f2() { echo inner; }; f2; }; f; f2", "inner\ninner\n", Exited(0)),
    ("echo \"$(echo \"nested $(echo \"deep\")\")\"", "nested deep\n", Exited(0)),
    ("{ echo g; } | cat; echo x | (cat; echo y)", "g\nx\ny\n", Exited(0)),
    ("while :; do while :; do break 2; done; echo never; done; echo out", "out\n", Exited(0)),
];

async fn sh(script: &str) -> Output {
    let backend = MemBackend::new();
    let name = WorkloadName::new("w").expect("name");
    backend.create(CreateRequest::new(WorkloadSpec::new(name.clone())).with_start()).await.expect("create");
    let connection = backend.connect(&name).await.expect("connect");
    connection.run(ExecRequest::shell(script)).await.expect("run")
}

#[tokio::test]
async fn it_does_what_a_posix_shell_does() {
    for (script, stdout, status) in SCRIPTS {
        let out = sh(script).await;
        assert_eq!(
            (out.stdout_text().as_str(), out.status),
            (*stdout, *status),
            "{script}\nstderr: {}",
            out.stderr_text()
        );
    }
}

#[tokio::test]
async fn what_it_lacks_is_an_error() {
    for script in ["echo a 3>/tmp/x", "set -x", "cat <>/tmp/x", "echo $((x=1))"] {
        let out = sh(script).await;
        assert_eq!(out.status, Exited(2), "{script}");
        assert!(!out.stderr.is_empty(), "{script}");
    }
}

#[tokio::test]
async fn endless_recursion_ends() {
    let out = sh("f() { f; }; f; echo never").await;
    assert_eq!((out.status, out.stdout_text()), (Exited(2), String::new()));
    let out = sh("f() { echo $(f); }; f").await;
    assert!(out.stderr_text().contains("nested too deep"), "{}", out.stderr_text());
}

#[tokio::test]
async fn patterns_name_files() {
    let out = sh("cd /tmp; echo x*; mkdir -p d/e; touch a.t b.t .c.t d/e/f.t; echo *.t */*/f.t [!a].t '*.t' .c*").await;
    assert_eq!(out.stdout_text(), "x*\na.t b.t d/e/f.t b.t *.t .c.t\n", "{}", out.stderr_text());
}

#[tokio::test]
async fn exec_takes_the_shells_place() {
    let out = sh("sh -c 'echo $$; exec sh -c \"echo \\$\\$\"'").await;
    let text = out.stdout_text();
    let pids: Vec<_> = text.lines().collect();
    assert!(pids.len() == 2 && pids[0] == pids[1], "{text}");
}

#[tokio::test]
async fn a_script_file_runs_by_its_first_line() {
    let script =
        "printf '#!/bin/sh -e\\necho \"$0 $1\"; false; echo never\\n' >/tmp/s; chmod 755 /tmp/s; /tmp/s x; echo $?";
    assert_eq!(sh(script).await.stdout_text(), "/tmp/s x\n1\n");
}

#[tokio::test]
async fn a_trap_ends_a_wait() {
    let out =
        sh("trap 'echo caught; exit 3' USR1; sh -c \"sleep 0.05; kill -USR1 $$\" & sleep 30 >/dev/null 2>&1 & wait; echo never").await;
    assert_eq!((out.stdout_text().as_str(), out.status), ("caught\n", Exited(3)));
}
