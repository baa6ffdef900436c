//! What `pod os` prints. The core's types are its JSON and YAML form.

use super::{Report, Table};
use pod::copy::FileType;
use pod::os::{Cpu, Disk, FileEntry, Interface, Memory, OsFacts, Package, ProcessInfo, RouteEntry, Service, User};
use pod::size::human;

/// A thing of a list.
pub(crate) trait Row: serde::Serialize {
    /// The columns; more when `wide`.
    fn heading(wide: bool) -> Vec<&'static str>;
    /// The cells.
    fn cells(&self, wide: bool) -> Vec<String>;
    /// What it is called.
    fn name(&self) -> String;
}

/// A list of things.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct Listed<T>(pub(crate) Vec<T>);

impl<T: Row> Report for Listed<T> {
    fn table(&self, wide: bool) -> Table {
        let mut t = Table::new(T::heading(wide));
        for row in &self.0 {
            t.row(row.cells(wide));
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(Row::name).collect()
    }
}

/// A thing of which there is one.
pub(crate) trait Facts: serde::Serialize {
    /// What is known, in words.
    fn facts(&self) -> Vec<(&'static str, String)>;
}

/// A thing of which there is one.
#[derive(Debug, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct Described<T>(pub(crate) T);

impl<T: Facts> Report for Described<T> {
    fn table(&self, _wide: bool) -> Table {
        let mut t = Table::bare();
        for (key, value) in self.0.facts() {
            t.row([format!("{key}:"), value]);
        }
        t
    }

    fn names(&self) -> Vec<String> {
        self.0.facts().into_iter().take(1).map(|(_, value)| value).collect()
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

impl Facts for OsFacts {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("os", self.pretty_name.clone()),
            ("id", self.id.clone()),
            ("version", self.version.clone()),
            ("kernel", format!("{} {}", self.kernel, self.kernel_release)),
            ("arch", self.arch.clone()),
            ("host name", self.hostname.clone()),
            ("userland", format!("{:?}", self.userland).to_lowercase()),
            ("packages by", text(self.package_manager)),
            ("services by", text(self.init)),
            ("container", self.container.clone().unwrap_or_default()),
            ("user id", self.uid.to_string()),
        ]
    }
}

impl Facts for Memory {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("total", human(self.total)),
            ("available", human(self.available)),
            ("free", human(self.free)),
            ("cached", human(self.cached)),
            ("swap", human(self.swap_total)),
            ("swap free", human(self.swap_free)),
            ("limit", self.limit.map_or_else(|| "none".into(), human)),
            ("used of it", self.used.map(human).unwrap_or_default()),
        ]
    }
}

impl Facts for Cpu {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("count", self.count.to_string()),
            ("model", self.model.clone()),
            ("limit", self.limit.map_or_else(|| "none".into(), |l| l.to_string())),
        ]
    }
}

impl Row for Interface {
    fn heading(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["NAME", "KIND", "STATE", "VLAN", "ADDRESSES"];
        if wide {
            head.extend(["MAC", "MTU", "PARENT", "MASTER"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let mut row = vec![
            self.name.clone(),
            self.kind.to_string(),
            self.state.to_string(),
            text(self.vlan),
            addresses.join(","),
        ];
        if wide {
            row.extend([
                text(self.mac),
                text(self.mtu),
                self.parent.clone().unwrap_or_default(),
                self.master.clone().unwrap_or_default(),
            ]);
        }
        row
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for RouteEntry {
    fn heading(_wide: bool) -> Vec<&'static str> {
        vec!["TO", "VIA", "INTERFACE", "SOURCE", "METRIC", "KIND"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let to = if self.is_default() { "default".into() } else { self.to.to_string() };
        vec![
            to,
            text(self.via),
            self.interface.clone().unwrap_or_default(),
            text(self.source),
            self.metric.to_string(),
            self.kind.to_string(),
        ]
    }

    fn name(&self) -> String {
        self.to.to_string()
    }
}

impl Row for ProcessInfo {
    fn heading(wide: bool) -> Vec<&'static str> {
        if wide {
            vec!["PID", "PPID", "USER", "STATE", "MEMORY", "NAME", "COMMAND"]
        } else {
            vec!["PID", "USER", "STATE", "MEMORY", "COMMAND"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let (pid, user, state) = (self.pid.to_string(), self.user.clone(), self.state.to_string());
        if wide {
            vec![pid, self.ppid.to_string(), user, state, human(self.rss), self.name.clone(), self.command()]
        } else {
            vec![pid, user, state, human(self.rss), self.command()]
        }
    }

    fn name(&self) -> String {
        self.pid.to_string()
    }
}

impl Row for Disk {
    fn heading(wide: bool) -> Vec<&'static str> {
        let mut head = vec!["MOUNT", "SIZE", "USED", "AVAILABLE", "FILE SYSTEM"];
        if wide {
            head.extend(["SOURCE", "FILES FREE", "READ ONLY"]);
        }
        head
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut row = vec![
            self.mount.to_string(),
            human(self.total),
            human(self.used),
            human(self.available),
            self.file_system.clone(),
        ];
        if wide {
            let read_only = if self.read_only { "yes" } else { "no" };
            row.extend([self.source.to_string(), self.files_free.to_string(), read_only.into()]);
        }
        row
    }

    fn name(&self) -> String {
        self.mount.to_string()
    }
}

impl Row for FileEntry {
    fn heading(wide: bool) -> Vec<&'static str> {
        if wide { vec!["MODE", "OWNER", "SIZE", "CHANGED", "NAME"] } else { vec!["MODE", "SIZE", "NAME"] }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let kind = match self.kind {
            FileType::Dir => 'd',
            FileType::Symlink => 'l',
            FileType::File => '-',
            _ => '?',
        };
        let mode = format!("{kind}{:04o}", self.mode);
        let name = match &self.target {
            Some(target) => format!("{} -> {target}", self.name),
            None => self.name.to_string(),
        };
        if wide {
            let changed = jiff::Timestamp::from_second(self.mtime.0).map(|t| t.to_string()).unwrap_or_default();
            vec![mode, format!("{}:{}", self.uid, self.gid), self.size.to_string(), changed, name]
        } else {
            vec![mode, self.size.to_string(), name]
        }
    }

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Row for Package {
    fn heading(_wide: bool) -> Vec<&'static str> {
        vec!["NAME", "VERSION", "ARCH"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        vec![self.name.clone(), self.version.clone(), self.arch.clone()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for Service {
    fn heading(_wide: bool) -> Vec<&'static str> {
        vec!["NAME", "STATE", "ENABLED", "PID", "DESCRIPTION"]
    }

    fn cells(&self, _wide: bool) -> Vec<String> {
        let enabled = self.enabled.map(|e| if e { "yes" } else { "no" });
        vec![self.name.clone(), self.state.to_string(), text(enabled), text(self.pid), self.description.clone()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for User {
    fn heading(wide: bool) -> Vec<&'static str> {
        if wide {
            vec!["NAME", "UID", "GROUP", "GROUPS", "HOME", "SHELL", "FULL NAME"]
        } else {
            vec!["NAME", "UID", "GROUP", "HOME", "SHELL"]
        }
    }

    fn cells(&self, wide: bool) -> Vec<String> {
        let mut row = vec![self.name.clone(), self.uid.to_string(), self.group.clone()];
        if wide {
            row.push(self.groups.join(","));
        }
        row.extend([self.home.to_string(), self.shell.to_string()]);
        if wide {
            row.push(self.comment.clone());
        }
        row
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// A host name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct HostName {
    pub(crate) host_name: String,
}

impl Facts for HostName {
    fn facts(&self) -> Vec<(&'static str, String)> {
        vec![("host name", self.host_name.clone())]
    }
}
