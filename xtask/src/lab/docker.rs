//! Docker: a daemon in a network namespace of its own.
//!
//! It also has a mount namespace of its own: what it mounts for its containers is seen nowhere else, and
//! goes with it, also when it is killed.

use super::parts::Part;
use super::process::{Place, Program, Record, output, wait};
use super::site::{Lab, make};
use super::{containerd, groups, network};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The name of the part.
pub(super) const NAME: &str = "dockerd";

/// How long an answer may take: loading an image is the longest.
const LIMIT: Duration = Duration::from_secs(60);

/// The daemon, with its own containerd.
#[derive(Debug)]
pub(super) struct Docker;

/// The daemon's socket.
pub(super) fn socket(lab: &Lab) -> PathBuf {
    lab.path("docker/docker.sock")
}

/// The kernel puts no overlay upon an overlay, such as a container's root is.
fn storage(lab: &Lab) -> Result<&'static str, String> {
    Ok(if containerd::is_on_overlay(lab)? { "vfs" } else { "overlay2" })
}

/// Clears what a daemon that was killed left: its pid, which may be another's by now, so that it would not
/// start; and its containerd, which sees none of the mounts of the next one.
fn clear(lab: &Lab) -> Result<(), String> {
    let containerd = lab.path("docker/exec/containerd/containerd.pid");
    let pid = std::fs::read_to_string(&containerd).ok().and_then(|t| t.trim().parse::<u32>().ok());
    let is_one =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "containerd");
    if let Some(pid) = pid.filter(|pid| is_one(*pid)) {
        output(Command::new("kill").arg("-KILL").arg(pid.to_string()))?;
        wait(LIMIT, || if is_one(pid) { Err(format!("containerd {pid} does not end")) } else { Ok(()) })?;
    }
    for file in [containerd, lab.path("docker/docker.pid")] {
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{}: {e}", file.display())),
            _ => {}
        }
    }
    Ok(())
}

impl Part for Docker {
    fn name(&self) -> String {
        NAME.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![network::NAME.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        make(&lab.path("docker/run"))?;
        if Record::load(&lab.name, NAME).is_none_or(|r| !r.alive()) {
            clear(lab)?;
        }
        Ok(())
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let place = Place { netns: lab.docker_netns(), mounts_of: None };
        let quote = |path: PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        // Its own /run: locks and plugins of this machine are none of its business. Its key is written to
        // /etc/docker, whatever it is told.
        let script = format!(
            "mount --bind {} /run\nmount -t tmpfs tmpfs /etc/docker\n\
             exec dockerd --data-root {} --exec-root {} --pidfile {} --host unix://{} \
             --storage-driver {} --cgroup-parent {} --exec-opt native.cgroupdriver=cgroupfs",
            quote(lab.path("docker/run")),
            quote(lab.path("docker/data")),
            quote(lab.path("docker/exec")),
            quote(lab.path("docker/docker.pid")),
            quote(socket(lab)),
            storage(lab)?,
            groups::of_docker(lab),
        );
        let words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-ec", &script];
        Ok(Some(Program { place, words: words.map(str::to_owned).to_vec() }))
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        let (status, answer) = ask(&socket(lab), "GET", "/_ping", None)?;
        if status == 200 { Ok(()) } else { Err(format!("it answers {status}: {answer}")) }
    }

    fn settle(&self, lab: &Lab) -> Result<(), String> {
        load(&socket(lab), lab)
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
