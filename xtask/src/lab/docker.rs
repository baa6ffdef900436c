//! Docker: Debian's, and the one of today, which the lab builds. Each is a daemon in a network namespace of its
//! own.
//!
//! It also has a mount namespace of its own: what it mounts for its containers is seen nowhere else, and
//! goes with it, also when it is killed.

use super::parts::Part;
use super::process::{Place, Program, Record, output, wait};
use super::site::{self, Lab, make};
use super::{certificates, containerd, groups, network, registry};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an answer may take: loading an image is the longest.
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon, with its own containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Docker {
    /// Debian's.
    Packaged,
    /// The one of today, in front of Debian's programs.
    Built,
}

impl Docker {
    /// The name of the part.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Packaged => "dockerd",
            Self::Built => site::MOBY,
        }
    }

    /// The name of the engine, and of its folder.
    fn engine(self) -> &'static str {
        match self {
            Self::Packaged => site::DOCKER,
            Self::Built => site::MOBY,
        }
    }

    /// A file of its folder.
    fn path(self, lab: &Lab, below: &str) -> PathBuf {
        lab.path(self.engine()).join(below)
    }

    /// The daemon's socket.
    pub(super) fn socket(self, lab: &Lab) -> PathBuf {
        self.path(lab, "docker.sock")
    }

    /// What only one of them is told, and what the shell does before.
    fn own(self, lab: &Lab) -> Result<(String, String), String> {
        // The kernel puts no overlay upon an overlay, such as a container's root is.
        let stacked = containerd::is_on_overlay(lab)?;
        Ok(match self {
            Self::Packaged => {
                let storage = if stacked { "vfs" } else { "overlay2" };
                (String::new(), format!("--storage-driver {storage}"))
            }
            Self::Built => {
                let programs = lab.program("docker-proxy")?;
                let programs = programs.parent().ok_or("docker-proxy has no folder")?;
                // Its runc is built without libseccomp. Its images are in containerd, unless told otherwise.
                let storage = if stacked { "native" } else { "overlayfs" };
                let options = format!("--seccomp-profile unconfined --storage-driver {storage}");
                (format!("export PATH={}:$PATH\n", quote(programs)), options)
            }
        })
    }
}

fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Clears what a daemon that was killed left: its pid, which may be another's by now, so that it would not
/// start; and its containerd, which sees none of the mounts of the next one.
fn clear(lab: &Lab, docker: Docker) -> Result<(), String> {
    let containerd = docker.path(lab, "exec/containerd/containerd.pid");
    let pid = std::fs::read_to_string(&containerd).ok().and_then(|t| t.trim().parse::<u32>().ok());
    let is_one =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "containerd");
    if let Some(pid) = pid.filter(|pid| is_one(*pid)) {
        output(Command::new("kill").arg("-KILL").arg(pid.to_string()))?;
        wait(LIMIT, || if is_one(pid) { Err(format!("containerd {pid} does not end")) } else { Ok(()) })?;
    }
    for file in [containerd, docker.path(lab, "docker.pid")] {
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{}: {e}", file.display())),
            _ => {}
        }
    }
    Ok(())
}

impl Part for Docker {
    fn name(&self) -> String {
        (*self).name().into()
    }

    fn needs(&self) -> Vec<String> {
        vec![network::NAME.into(), certificates::NAME.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        make(&self.path(lab, "run"))?;
        registry::trust(lab, &self.path(lab, "etc"))?;
        if Record::load(&lab.name, (*self).name()).is_none_or(|r| !r.alive()) {
            clear(lab, *self)?;
        }
        Ok(())
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let place = Place { netns: lab.engine_netns(self.engine()), mounts_of: None };
        let quoted = |below: &str| quote(&self.path(lab, below));
        let (before, options) = self.own(lab)?;
        // Its own /run: locks and plugins of this machine are none of its business. Its key is written to
        // /etc/docker, whatever it is told.
        let script = format!(
            "mount --bind {} /run\nmount --bind {} /etc/docker\n{before}\
             exec dockerd --data-root {} --exec-root {} --pidfile {} --host unix://{} \
             {options} --cgroup-parent {} --exec-opt native.cgroupdriver=cgroupfs",
            quoted("run"),
            quoted("etc"),
            quoted("data"),
            quoted("exec"),
            quoted("docker.pid"),
            quoted("docker.sock"),
            groups::of_docker(lab, self.engine()),
        );
        let words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", &script];
        Ok(Some(Program { place, words: words.map(str::to_owned).to_vec() }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let (status, answer) = ask(&self.socket(lab), "GET", "/_ping", None)?;
        if status == 200 { Ok(()) } else { Err(format!("it answers {status}: {answer}")) }
    }

    fn settle(&self, lab: &Lab) -> Result<(), String> {
        load(&self.socket(lab), lab)
    }
}

/// Loads the lab's image into a daemon, unless it has it.
pub(super) fn load(socket: &Path, lab: &Lab) -> Result<(), String> {
    let image = containerd::IMAGE;
    if ask(socket, "GET", &format!("/images/{image}/json"), None)?.0 == 200 {
        return Ok(());
    }
    let archive = std::fs::read(&lab.image).map_err(|e| format!("{}: {e}", lab.image.display()))?;
    match ask(socket, "POST", "/images/load?quiet=1", Some(&archive))? {
        (200, answer) if answer.contains(image) => Ok(()),
        (status, answer) => Err(format!("load {image}: {status}: {answer}")),
    }
}

/// Asks a daemon, and gives the status and what it says.
pub(super) fn ask(socket: &Path, method: &str, path: &str, body: Option<&[u8]>) -> Result<(u16, String), String> {
    let about = |e: std::io::Error| format!("{}: {e}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(about)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(about)?;
    // HTTP/1.0: the answer ends with the connection, and is not in pieces.
    let length = body.map_or(0, <[u8]>::len);
    let head =
        format!("{method} {path} HTTP/1.0\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(about)?;
    stream.write_all(body.unwrap_or_default()).map_err(about)?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_to_end(&mut answer).map_err(about)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| format!("{}: no HTTP: {head}", socket.display()))?;
    let said = serde_json::from_str::<Value>(body).ok().and_then(|v| v["message"].as_str().map(str::to_owned));
    Ok((status, said.unwrap_or_else(|| body.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn answers_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // All of it: a socket closed with something unread takes the answer with it.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.extend(byte);
            }
            stream.write_all(b"HTTP/1.0 404 Not Found\r\nX: y\r\n\r\n{\"message\":\"none\"}\n").expect("sent");
            request
        });
        assert_eq!(ask(&path, "GET", "/x", None), Ok((404, "none".into())));
        let request = server.join().expect("the server");
        assert!(request.starts_with(b"GET /x HTTP/1."), "{}", String::from_utf8_lossy(&request));
        assert!(ask(Path::new("/nonexistent/s"), "GET", "/x", None).is_err());
    }
}
