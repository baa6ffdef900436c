//! Whether addresses answer, asked from inside a workload by the tools of its image.
//!
//! There is no other way in: the workload's network namespace is on a node, or where the daemon is. `ping` sends an ICMP echo from the
//! interface asked for. Without `ping`, a TCP connection to a port that nothing listens on tells as
//! much: a refusal comes from the target itself (RFC 9293 section 3.5.2), silence from nobody. What can't
//! be asked so is unknown, never blocked.

use pod_core::{Connection, ConnectionExt, ExecRequest, ProbeOutcome, ProbeTarget, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The port that is knocked at where there is no `ping`: discard's neighbour, on which nothing listens.
const PORT: u16 = 6;

/// One question for one workload: all targets at once, from one program.
#[derive(Debug)]
pub struct Pinger {
    targets: Vec<ProbeTarget>,
    timeout: Duration,
}

impl Pinger {
    /// Asks these, each for so long.
    #[must_use]
    pub fn new(targets: Vec<ProbeTarget>, timeout: Duration) -> Self {
        Self { targets, timeout }
    }

    /// How often each target is asked, a second each: `ping` counts in whole seconds everywhere.
    fn tries(&self) -> u64 {
        self.timeout.as_secs().clamp(1, 30) + u64::from(self.timeout.subsec_millis() > 0)
    }

    /// The script; it prints a line `N STATUS TEXT` for each target.
    fn script(&self) -> String {
        let tries = self.tries();
        let mut script = String::from(
            "export LC_ALL=C PATH=\"$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\n\
             say() { printf '%s %s %s\\n' \"$1\" \"$2\" \"$(printf '%s' \"$3\" | tr '\\n' ' ')\"; }\n",
        );
        let _ = writeln!(
            script,
            "if command -v ping >/dev/null 2>&1; then\n\
             ask() {{ n=$1; ip=$2; shift 2; i=0; while :; do o=$(ping -c 1 -W 1 \"$@\" \"$ip\" 2>&1); c=$?\n\
             [ $c = 0 ] && break; i=$((i+1)); [ $i -ge {tries} ] && break; case $o in *nreachable*|*permitted*|*denied*|\
             *nvalid*|*\"can't \"*) break;; esac; done; say $n $c \"$o\"; }}\n\
             elif command -v nc >/dev/null 2>&1; then\n\
             ask() {{ n=$1; ip=$2; if [ \"$3\" ]; then say $n 126 'no ping in the image, and nc takes no interface'; return; fi\n\
             o=$(nc -v -w {tries} \"$ip\" {PORT} </dev/null 2>&1); \
             case $o in *nvalid*|*nrecognized*) o=$(nc -w {tries} \"$ip\" {PORT} </dev/null 2>&1);; esac; say $n tcp \"$o\"; }}\n\
             elif command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; then\n\
             ask() {{ n=$1; ip=$2; if [ \"$3\" ]; then say $n 126 'no ping in the image, and bash takes no interface'; return; fi\n\
             o=$(timeout {tries} bash -c \"exec 3<>/dev/tcp/$ip/{PORT}\" 2>&1); c=$?; [ $c = 124 ] && o='timed out'\n\
             [ $c = 0 ] && o=open; say $n tcp \"$o\"; }}\n\
             else ask() {{ say $1 127 'the image has neither ping, nc nor bash'; }}\nfi"
        );
        for (n, target) in self.targets.iter().enumerate() {
            let _ = match &target.interface {
                // An interface's name holds no sign that a shell or ping would take for its own.
                Some(interface) => writeln!(script, "ask {n} {} -I '{interface}' &", target.ip),
                None => writeln!(script, "ask {n} {} &", target.ip),
            };
        }
        script.push_str("wait\n");
        script
    }

    /// Asks; the outcomes come in the order of the targets. Without a shell or a tool they are unknown.
    ///
    /// # Errors
    /// As the exec.
    pub async fn ask(&self, connection: &dyn Connection) -> Result<Vec<ProbeOutcome>> {
        let limit = Duration::from_secs(self.tries() * 2 + 20);
        let out = connection.run(ExecRequest::shell(self.script()).with_timeout(limit)).await;
        match out {
            Ok(out) => {
                let mut outcomes = read(&out.stdout_text());
                let lost = || {
                    let said = out.stderr_text();
                    let said = said.trim();
                    let said = if said.is_empty() { "it printed nothing" } else { said };
                    ProbeOutcome::Unknown(format!("the probe {}: {said}", out.status))
                };
                Ok((0..self.targets.len()).map(|n| outcomes.remove(&n).unwrap_or_else(lost)).collect())
            }
            // No shell: no probe. Anything else is the caller's to know.
            Err(e) if e.exit_code().is_some() => {
                let why = ProbeOutcome::Unknown(format!("the image has no shell to probe with: {e}"));
                Ok(vec![why; self.targets.len()])
            }
            Err(e) => Err(e),
        }
    }
}

fn read(text: &str) -> BTreeMap<usize, ProbeOutcome> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        let (Some(n), Some(status)) = (parts.next().and_then(|n| n.parse().ok()), parts.next()) else { continue };
        let said = parts.next().unwrap_or_default().trim();
        found.insert(n, if status == "tcp" { of_tcp(said) } else { of_ping(status, said) });
    }
    found
}

/// The last words of what a tool said.
fn words(said: &str) -> String {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut = said.char_indices().rev().nth(159).map_or(0, |(i, _)| i);
    said[cut..].to_owned()
}

fn is_no_way(lower: &str) -> bool {
    lower.contains("unreachable") || lower.contains("no route to host") || lower.contains("prohibited")
}

fn of_ping(status: &str, said: &str) -> ProbeOutcome {
    let lower = said.to_ascii_lowercase();
    match status {
        "0" => ProbeOutcome::Reached(round_trip(said).unwrap_or_default()),
        "126" | "127" => ProbeOutcome::Unknown(words(said)),
        _ if is_no_way(&lower) => ProbeOutcome::Refused(words(said)),
        _ if ["permitted", "denied", "invalid", "unrecognized", "usage", "can't", "no such device", "unknown"]
            .iter()
            .any(|w| lower.contains(w)) =>
        {
            ProbeOutcome::Unknown(words(said))
        }
        // iputils and BusyBox: 1 is no answer, anything else a failure of the tool's own
        "1" => ProbeOutcome::NoAnswer,
        _ => ProbeOutcome::Unknown(words(said)),
    }
}

fn of_tcp(said: &str) -> ProbeOutcome {
    let lower = said.to_ascii_lowercase();
    if lower.contains("refused") || lower.contains("open") || lower.contains("succeeded") {
        ProbeOutcome::Reached(Duration::ZERO)
    } else if is_no_way(&lower) {
        ProbeOutcome::Refused(words(said))
    } else if lower.is_empty() || lower.contains("timed out") || lower.contains("timeout") {
        ProbeOutcome::NoAnswer
    } else {
        ProbeOutcome::Unknown(words(said))
    }
}

/// `time=0.045 ms`, of iputils and BusyBox alike.
fn round_trip(said: &str) -> Option<Duration> {
    let (_, rest) = said.split_once("time=")?;
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let ms: f64 = number.parse().ok()?;
    Some(Duration::from_secs_f64(ms / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pod_core::IfName;

    #[test]
    fn what_the_tools_say_is_understood() {
        let outcomes = read(
            "0 0 PING 10.1.0.5 (10.1.0.5): 56 data bytes 64 bytes from 10.1.0.5: seq=0 ttl=64 time=0.125 ms\n\
             1 1 PING 10.1.0.6 (10.1.0.6): 56 data bytes --- 10.1.0.6 ping statistics --- 1 packets transmitted\n\
             2 1 ping: sendto: Network is unreachable\n\
             3 1 ping: permission denied (are you root?)\n\
             4 127 the image has neither ping, nc nor bash\n\
             5 1 From 10.1.0.9 icmp_seq=1 Destination Host Unreachable\n\
             6 2 ping: SO_BINDTODEVICE net9: No such device\n\
             7 tcp nc: 10.1.0.5 (10.1.0.5:6): Connection refused\n\
             8 tcp bash: connect: No route to host bash: /dev/tcp/10.1.0.5/6: No route to host\n\
             9 tcp timed out\n\
             10 1 ping: can't bind to interface net9: No such device\n\
             noise\n",
        );
        assert_eq!(outcomes[&0], ProbeOutcome::Reached(Duration::from_micros(125)));
        assert_eq!(outcomes[&1], ProbeOutcome::NoAnswer);
        assert!(matches!(outcomes[&2], ProbeOutcome::Refused(_)));
        assert!(matches!(outcomes[&3], ProbeOutcome::Unknown(_)));
        assert!(matches!(outcomes[&4], ProbeOutcome::Unknown(_)));
        assert!(matches!(outcomes[&5], ProbeOutcome::Refused(_)));
        assert!(matches!(outcomes[&6], ProbeOutcome::Unknown(_)));
        assert!(outcomes[&7].reached());
        assert!(matches!(outcomes[&8], ProbeOutcome::Refused(_)));
        assert_eq!(outcomes[&9], ProbeOutcome::NoAnswer);
        assert!(matches!(outcomes[&10], ProbeOutcome::Unknown(_)));
        assert_eq!(outcomes.len(), 11);
    }

    #[test]
    fn the_script_asks_each_target_by_its_interface() {
        let target = |ip: &str| ProbeTarget::new(ip.parse().expect("ip"));
        let pinger = Pinger::new(
            vec![target("10.1.0.5").with_interface(IfName::new("net1").expect("name")), target("fd00::5")],
            Duration::from_millis(400),
        );
        let script = pinger.script();
        assert!(script.contains("ask 0 10.1.0.5 -I 'net1' &\nask 1 fd00::5 &\nwait\n"), "{script}");
        assert_eq!(pinger.tries(), 2);
    }

    /// The script in this machine's own shell, to the machine itself.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_script_runs_in_a_shell() {
        let pinger = Pinger::new(vec![ProbeTarget::new("127.0.0.1".parse().expect("ip"))], Duration::from_secs(1));
        let out = std::process::Command::new("sh").arg("-c").arg(pinger.script()).output().expect("sh");
        let text = String::from_utf8_lossy(&out.stdout);
        let outcomes = read(&text);
        // Without ping, nc and bash it says so; it never says that there was no answer.
        assert!(
            outcomes.get(&0).is_some_and(|o| matches!(o, ProbeOutcome::Reached(_) | ProbeOutcome::Unknown(_))),
            "{text:?} {:?}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
