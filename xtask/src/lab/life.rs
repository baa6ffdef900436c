//! A lab's life: up, and down without a trace.

use super::process::output;
use super::site::{self, Lab};
use super::{containerd, groups, images, loaded, network, parts, programs};
use crate::report::span;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Where the locks are (hier(7)).
const LOCKS: &str = "/run/lock";

/// Keeps others from changing the same lab at the same time.
pub(super) fn lock(name: &str) -> Result<fs::File, String> {
    let path = Path::new(LOCKS).join(Lab::mark(name));
    site::make(Path::new(LOCKS))?;
    let file = fs::File::create(&path).and_then(|f| f.lock().map(|()| f));
    file.map_err(|e| format!("{}: {e}", path.display()))
}

/// Starts a lab, or what of it does not run. The cache has to have all programs.
pub(super) fn up(name: &str, nodes: u8, small: bool, say: impl Fn(&str) + Sync) -> Result<Lab, String> {
    let _lock = lock(name)?;
    let since = Instant::now();
    let cache = site::cache()?;
    let image = images::busybox(&cache, containerd::IMAGE)?;
    let programs = programs::build(&cache, &say)?;
    let mut lab = Lab { name: name.to_owned(), nodes, small, cache, programs, image };
    if Lab::complete(name).exists() {
        let there = loaded(name)?;
        if there.nodes != nodes {
            return Err(format!("lab {name} is up with {} nodes: take it down first", there.nodes));
        }
        if there.small != small {
            let how = if there.small { "with" } else { "without" };
            return Err(format!("lab {name} is up {how} --small: take it down first"));
        }
        lab = there;
    } else {
        if is_there(name)? {
            say(&format!("clearing what an interrupted start of lab {name} left"));
            clear(name)?;
        }
    }
    groups::create(&lab)?;
    groups::join(&lab)?;
    make_private(&lab)?;
    lab.save()?;
    let started = parts::start_all(&lab, &parts::all(&lab), &say);
    started.map_err(|why| {
        format!("{why}\nthe logs are in {}; `cargo xtask lab down` clears it", lab.path("parts").display())
    })?;
    site::write(&Lab::complete(name), "")?;
    say(&format!("lab {name} is up ({})", span(since.elapsed())));
    Ok(lab)
}

/// Makes the folder of a lab's state, which only root may look into: it has the keys of the cluster.
fn make_private(lab: &Lab) -> Result<(), String> {
    site::make(&lab.state())?;
    output(Command::new("chmod").arg("0700").arg(lab.state())).map(drop)
}

fn is_there(name: &str) -> Result<bool, String> {
    Ok(Lab::folder(name).exists() || !groups::all(name).is_empty() || !network::of_lab(name)?.is_empty())
}

/// Takes a lab down.
pub(super) fn down(name: &str) -> Result<(), String> {
    let _lock = lock(name)?;
    clear(name)
}

/// Removes all of a lab, as far as it was made.
fn clear(name: &str) -> Result<(), String> {
    for (pid, program) in network::visitors(name)? {
        eprintln!("note: {program} ({pid}) still runs in the network of lab {name}, which is being removed");
    }
    // In this order: a process that still ran could write into the folder, or hold a mount in it.
    groups::remove(name)?;
    network::remove(name)?;
    let folder = Lab::folder(name);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", folder.display())),
        _ => Ok(()),
    }
}
