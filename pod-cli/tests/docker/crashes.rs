//! The command killed at many moments: what it leaves is found, and finished or taken away.

use super::{World, lab};
use crate::driver::Driver;
use std::process::Command;
use std::time::{Duration, Instant};

/// At how many moments a command is killed.
const MOMENTS: u32 = 12;

/// The lab's Docker.
struct Engine {
    word: String,
    socket: String,
}

impl Engine {
    fn new() -> Self {
        let socket = lab("POD_LAB_DOCKER");
        let owner = format!("crash{}", std::process::id());
        let image = lab("POD_LAB_IMAGE");
        Self { word: format!("docker:?image={image}&socket={socket}&owner={owner}"), socket }
    }

    /// What Docker's own client prints of it.
    fn docker(&self, words: &[&str]) -> String {
        let done = Command::new("docker").args(["-H", &format!("unix://{}", self.socket)]).args(words).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

/// Takes what a test made away, however it ends.
struct Cleared<'a> {
    world: &'a World,
    engine: &'a Engine,
    workloads: Vec<&'a str>,
    networks: Vec<&'a str>,
}

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        let word = self.engine.word.as_str();
        let ran = [
            self.world.run([&["-b", word, "rm", "-f"][..], &self.workloads].concat()),
            self.world.run([&["-b", word, "net", "rm"][..], &self.networks].concat()),
        ];
        for ran in ran {
            assert!(std::thread::panicking() || ran.code == 0, "{}{}", ran.out, ran.err);
        }
    }
}

/// Runs a command and kills it after that time, if it has not ended; how long it took.
fn killed(world: &World, words: &[&str], after: Duration) -> Duration {
    let begun = Instant::now();
    let mut child = world.start(words);
    while begun.elapsed() < after && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    begun.elapsed()
}

#[test]
fn a_killed_switch_of_isolation_is_finished_by_the_next_or_by_gc() {
    let (w, engine) = (World::new(), Engine::new());
    let word = engine.word.as_str();
    let pod = |words: &[&str]| w.run([&["-b", word], words].concat());
    let network = format!("iso{}", std::process::id());
    let names = ["a", "b", "c"].map(|n| format!("iso{n}{}", std::process::id()));
    let cleared = Cleared {
        world: &w,
        engine: &engine,
        workloads: names.iter().map(String::as_str).collect(),
        networks: vec![&network],
    };
    pod(&["net", "create", &network, "--subnet", "10.74.0.0/24"]).ok();
    for (name, ip) in names.iter().zip(["10.74.0.11", "10.74.0.12", "10.74.0.13"]) {
        let net = format!("{network}:ip={ip}");
        pod(&["run", "-d", "--name", name, "--net", &net, "--", "sleep", "3600"]).ok();
    }
    pod(&["stop", "--grace", "0", &names[2]]).ok();
    let format =
        format!("{{{{with index .NetworkSettings.Networks {network:?}}}}}{{{{.IPAMConfig.IPv4Address}}}}{{{{end}}}}");
    let addresses = || names.each_ref().map(|name| engine.docker(&["inspect", "-f", &format, name]));
    let whole = ["10.74.0.11", "10.74.0.12", "10.74.0.13"].map(str::to_owned);
    assert_eq!(addresses(), whole);
    let off = ["-b", word, "net", "isolate", &network, "--off"];
    let on = &off[..off.len() - 1];
    let long = {
        let begun = Instant::now();
        w.run(on).ok();
        w.run(off).ok();
        begun.elapsed() / 2
    };
    let mut torn = 0;
    for moment in 1..=MOMENTS {
        let words = if moment % 2 == 0 { on } else { &off[..] };
        // The other way first, so that there is something to do.
        w.run(if moment % 2 == 0 { &off[..] } else { on }).ok();
        killed(&w, words, long * moment / (MOMENTS + 1));
        let left = pod(&["gc", "-y"]);
        let journal = engine.docker(&["volume", "ls", "-q", "-f", &format!("name=pod-isolate-{network}")]);
        assert_eq!(journal, "", "moment {moment}: {}{}", left.out, left.err);
        torn += u32::from(left.ok().out.contains(&network));
        assert_eq!(addresses(), whole, "moment {moment}, after gc");

        w.run(if moment % 2 == 0 { &off[..] } else { on }).ok();
        killed(&w, words, long * moment / (MOMENTS + 1));
        w.run(words).ok();
        assert_eq!(addresses(), whole, "moment {moment}, after the next");
        let left = pod(&["gc", "-y"]).ok();
        assert!(!left.out.contains(&network), "moment {moment}: {}", left.out);
    }
    assert!(torn > 0, "none of {MOMENTS} moments in {long:?} tore it");
    println!("{torn} of {MOMENTS} were torn");
    drop(cleared);
}

#[test]
fn a_killed_creation_is_whole_or_collected_at_once() {
    let (w, engine) = (World::new(), Engine::new());
    let word = engine.word.as_str();
    let pod = |words: &[&str]| w.run([&["-b", word], words].concat());
    let networks = ["r", "g"].map(|n| format!("mk{n}{}", std::process::id()));
    let name = format!("mk{}", std::process::id());
    let cleared = Cleared {
        world: &w,
        engine: &engine,
        workloads: vec![&name],
        networks: networks.iter().map(|n| &**n).collect(),
    };
    for (network, subnet) in networks.iter().zip(["10.75.0.0/24", "10.76.0.0/24"]) {
        pod(&["net", "create", network, "--subnet", subnet]).ok();
    }
    let net = [format!("{}:ip=10.75.0.9", networks[0]), format!("{}:ip=10.76.0.9", networks[1])];
    let run = [
        "-b",
        word,
        "run",
        "-d",
        "--keep-alive",
        "--name",
        &name,
        "--net",
        &net[0],
        "--net",
        &net[1],
        "--",
        "sleep",
        "3600",
    ];
    let begun = Instant::now();
    w.run(run).ok();
    let long = begun.elapsed();
    let (mut collected, mut retried) = (0, 0);
    for moment in 1..=2 * MOMENTS {
        pod(&["rm", "-f", &name]).ok();
        killed(&w, &run, long * moment / (2 * MOMENTS + 1));
        // What was asked of the engine last may still be under way.
        std::thread::sleep(Duration::from_millis(300));
        let state = || {
            let ran = pod(&["inspect", &name, "-o", "json"]);
            (ran.code == 0).then(|| ran.json())
        };
        if moment % 2 == 0 {
            let found = pod(&["gc", "-y"]).ok().out.contains(&name);
            collected += u32::from(found);
            assert!(!(found && state().is_some()), "moment {moment}: it was collected and is there");
        }
        // By the same name and at the same addresses, unless it is whole.
        let again = w.run(run);
        if again.code != 0 {
            assert!(again.err.contains("of that name exists"), "moment {moment}: {}", again.err);
            let found = state().unwrap_or_else(|| panic!("moment {moment}: nothing is there"));
            let text = found.to_string();
            assert!(text.contains("10.75.0.9") && text.contains("10.76.0.9"), "moment {moment}: {text}");
            assert_ne!(found[0]["state"], "created", "moment {moment}: {text}");
        } else {
            retried += 1;
        }
    }
    println!("in {long:?}, {collected} collected, {retried} made again");
    drop(cleared);
}
