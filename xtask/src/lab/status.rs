//! What of a lab runs, and how to use it.

use super::parts;
use super::process::Record;
use super::site::Lab;
use serde_json::{Value, json};
use std::process::ExitCode;

/// How the status is printed.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(super) enum Output {
    /// For people
    #[default]
    Table,
    /// One object
    Json,
}

/// Prints it; fails unless every server runs.
pub(super) fn print(name: &str, output: Output) -> Result<ExitCode, String> {
    let status = status(name)?;
    match output {
        Output::Json => println!("{status:#}"),
        Output::Table => print!("{}", table(&status)),
    }
    Ok(if status["state"] == "up" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn status(name: &str) -> Result<Value, String> {
    let Some(lab) = Lab::load(name)? else {
        return Ok(json!({ "name": name, "state": "down", "parts": [] }));
    };
    let mut listed = Vec::new();
    for part in parts::servers(&lab) {
        let record = Record::load(name, &part).filter(|r| r.alive());
        let seconds = record.and_then(|r| r.age()).map(|age| age.as_secs());
        listed.push(json!({
            "name": part,
            "running": record.is_some(),
            "pid": record.map(|r| r.pid),
            "seconds": seconds,
        }));
    }
    let up = Lab::complete(name).exists() && listed.iter().all(|p| p["running"] == true);
    Ok(json!({
        "name": name,
        "state": if up { "up" } else { "partial" },
        "nodes": lab.nodes,
        "kubeconfig": lab.admin(),
        "netns": lab.netns(),
        "logs": lab.path("parts"),
        "parts": listed,
    }))
}

fn table(status: &Value) -> String {
    let mut text = format!("lab {}: {}\n", plain(&status["name"]), plain(&status["state"]));
    for part in status["parts"].as_array().into_iter().flatten() {
        let state = match part["pid"].as_u64() {
            Some(pid) => format!("running   pid {pid}, for {} s", part["seconds"]),
            None => "stopped".into(),
        };
        text += &format!("  {:<20}{state}\n", plain(&part["name"]));
    }
    text
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What to type next.
pub(super) fn how_to_use(name: &str) -> String {
    let option = if name == "main" { String::new() } else { format!(" --name {name}") };
    let folder = Lab::folder(name);
    format!(
        "\n  KUBECONFIG  {}\n  namespace   {}\n  logs        {}\n\n  \
         cargo xtask lab run{option} -- kubectl get nodes\n  cargo xtask lab down{option}",
        folder.join("admin.conf").display(),
        Lab::mark(name),
        folder.join("parts").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_that_is_not_there_is_down() {
        let status = status("nosuchlab").expect("a status");
        assert_eq!(status["state"], "down");
        assert_eq!(table(&status), "lab nosuchlab: down\n");
    }

    #[test]
    fn a_stopped_server_is_shown() {
        let status = json!({ "name": "a", "state": "partial", "parts": [
            { "name": "etcd", "pid": 7, "seconds": 3, "running": true },
            { "name": "apiserver", "pid": null, "seconds": null, "running": false },
        ]});
        assert_eq!(
            table(&status),
            "lab a: partial\n  etcd                running   pid 7, for 3 s\n  apiserver           stopped\n"
        );
    }
}
