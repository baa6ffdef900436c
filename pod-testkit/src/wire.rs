//! What passes a link, by tcpdump: for tests that show what is on the wire, and on no other.

use std::io::{BufRead, BufReader, Error, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Frames as they pass an interface, from when it is made. Needs root and `tcpdump` on the `PATH`.
#[derive(Debug)]
pub struct Capture(Child);

impl Capture {
    /// Listens on an interface of this network namespace, or of another by its file. When this returns, no
    /// frame is missed any more.
    ///
    /// # Errors
    /// `tcpdump` or `nsenter` can't be run, or it ends at once: its words are the error's.
    pub fn begin(netns: Option<&Path>, interface: &str) -> Result<Self> {
        let mut command = match netns {
            Some(netns) => {
                let mut enter = Command::new("nsenter");
                enter.arg(format!("--net={}", netns.display())).arg("tcpdump");
                enter
            }
            None => Command::new("tcpdump"),
        };
        command.args(["-i", interface, "-e", "-n", "-l", "-Z", "root"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // It says so when it listens.
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().ok_or_else(|| Error::other("it has no stderr"))?);
        while !said.contains("listening on") {
            if stderr.read_line(&mut said)? == 0 {
                child.wait()?;
                return Err(Error::other(format!("tcpdump ended: {said}")));
            }
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(Self(child))
    }

    /// The frames so far, a line each: its addresses, `vlan ID,` where it has a tag, and what it carries.
    ///
    /// # Errors
    /// It can't be ended.
    pub fn end(self) -> Result<Vec<String>> {
        // What has been captured is written when it is asked to end.
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status()?;
        let output = self.0.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

/// The frames from and to a MAC address.
#[must_use]
pub fn of(frames: &[String], mac: &str) -> Vec<String> {
    frames.iter().filter(|frame| frame.contains(mac)).cloned().collect()
}
