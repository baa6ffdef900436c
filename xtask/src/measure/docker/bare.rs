//! The barest client of the engine's API: a request and its answer on a connection of its own, nothing checked.

use pod::prelude::*;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A daemon's socket.
pub(super) struct Bare(pub(super) PathBuf);

impl Bare {
    /// Sends a request, and gives the answer's body, of which nothing is read yet. HTTP/1.0: it ends with the
    /// connection, and is not in pieces.
    fn ask(&self, head: &str, length: u64, body: &mut dyn Read) -> Result<BufReader<UnixStream>, Error> {
        let mut stream = UnixStream::connect(&self.0).doing(|| "reach the daemon")?;
        let head = format!("{head} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).doing(|| "ask the daemon")?;
        std::io::copy(body, &mut stream).doing(|| "send to the daemon")?;
        let mut answer = BufReader::new(stream);
        let mut status = String::new();
        answer.read_line(&mut status).doing(|| "read the daemon's answer")?;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            answer.read_line(&mut line).doing(|| "read the daemon's answer")?;
        }
        if !status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            return Err(Error::new(ErrorKind::CommandFailed, status.trim()).with_context("request", head));
        }
        Ok(answer)
    }

    fn json(&self, head: &str, body: &Value) -> Result<Value, Error> {
        let body = body.to_string();
        let mut text = String::new();
        self.ask(head, body.len() as u64, &mut body.as_bytes())?
            .read_to_string(&mut text)
            .doing(|| "read the daemon's answer")?;
        let bad = |e| Error::unexpected("the daemon's answer is no JSON").with_source(e);
        if text.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).map_err(bad) }
    }

    /// `true` in a container: create, start, read to the end, inspect.
    pub(super) fn exec(&self, container: &str) -> Result<Duration, Error> {
        let begun = Instant::now();
        let order = json!({ "Cmd": ["true"], "AttachStdout": true, "AttachStderr": true });
        let made = self.json(&format!("POST /containers/{container}/exec"), &order)?;
        let id = made["Id"].as_str().unwrap_or_default().to_owned();
        let start = json!({ "Detach": false, "Tty": false }).to_string();
        let mut output = Vec::new();
        self.ask(&format!("POST /exec/{id}/start"), start.len() as u64, &mut start.as_bytes())?
            .read_to_end(&mut output)
            .doing(|| "read an exec's output")?;
        let ended = self.json(&format!("GET /exec/{id}/json"), &Value::Null)?;
        let took = begun.elapsed();
        if ended["ExitCode"] == 0 { Ok(took) } else { Err(Error::unexpected(format!("true ended: {ended}"))) }
    }

    /// A container made and started.
    pub(super) fn run(&self, name: &str, image: &str) -> Result<Duration, Error> {
        let begun = Instant::now();
        let order = json!({ "Image": image, "Cmd": ["sleep", "1000"] });
        self.json(&format!("POST /containers/create?name={name}"), &order)?;
        self.json(&format!("POST /containers/{name}/start"), &Value::Null)?;
        Ok(begun.elapsed())
    }

    /// An archive written into a container's folder.
    pub(super) fn put(&self, container: &str, folder: &str, archive: &Path) -> Result<Duration, Error> {
        let begun = Instant::now();
        let mut file = File::open(archive).doing(|| "open an archive")?;
        let length = file.metadata().doing(|| "look at an archive")?.len();
        let mut rest = Vec::new();
        self.ask(&format!("PUT /containers/{container}/archive?path={folder}"), length, &mut file)?
            .read_to_end(&mut rest)
            .doing(|| "read the daemon's answer")?;
        Ok(begun.elapsed())
    }

    /// The archive of a path, into a file.
    pub(super) fn get(&self, container: &str, path: &str, to: &Path) -> Result<Duration, Error> {
        let begun = Instant::now();
        let mut file = File::create(to).doing(|| "make a file")?;
        let mut archive =
            self.ask(&format!("GET /containers/{container}/archive?path={path}"), 0, &mut [].as_slice())?;
        std::io::copy(&mut archive, &mut file).doing(|| "read an archive")?;
        Ok(begun.elapsed())
    }
}
