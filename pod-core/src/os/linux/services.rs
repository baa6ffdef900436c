//! Services by systemd, OpenRC, and the scripts of System V.

use crate::os::facts::{InitSystem, OsFacts};
use crate::os::plan::{Plan, Step};
use crate::os::script::{NONE, Sections, garbled, script};
use crate::os::services::{Service, ServiceAction, ServiceOutcome, ServiceState, checked};
use crate::{Error, Output, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a service may take to start or stop; systemd's own limit for one is 90 s.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(200);

fn init(facts: &OsFacts) -> Result<InitSystem> {
    facts.init.ok_or_else(|| {
        let error = Error::unsupported("no init system runs in the workload, so it has no services");
        match facts.container {
            Some(_) => error.with_hint("a container runs one command: start the program itself by exec"),
            None => error.with_hint("systemd, OpenRC and System V init are known"),
        }
    })
}

/// The plan that lists the services.
pub(crate) fn list(facts: &OsFacts) -> Result<Plan<Vec<Service>>> {
    Ok(match init(facts)? {
        InitSystem::Systemd => Plan::new(script(SYSTEMD_LIST, [PROPERTIES]), read_systemd),
        InitSystem::OpenRc => Plan::new(script(OPENRC_LIST, NONE), read_scripts),
        InitSystem::SysV => Plan::new(script(SYSV_LIST, NONE), read_scripts),
    })
}

/// The plan that reads one service.
pub(crate) fn one(facts: &OsFacts, name: &str) -> Result<Plan<Service>> {
    let name = checked(name)?.to_owned();
    let step = match init(facts)? {
        InitSystem::Systemd => script(SYSTEMD_ONE, [unit(&name).as_str(), PROPERTIES]),
        InitSystem::OpenRc => script(OPENRC_ONE, [name.as_str()]),
        InitSystem::SysV => script(SYSV_ONE, [name.as_str()]),
    };
    let read = match init(facts)? {
        InitSystem::Systemd => read_systemd,
        InitSystem::OpenRc | InitSystem::SysV => read_scripts,
    };
    Ok(Plan::new(step, move |output| {
        let mut all = read(output)?;
        match (all.pop(), all.is_empty()) {
            (Some(service), true) => Ok(service),
            (None, _) => Err(Error::not_found("service", name)),
            (Some(_), false) => Err(garbled("one service was asked for and several were found")),
        }
    }))
}

/// The plan that starts, stops, restarts, enables or disables one.
pub(crate) fn control(facts: &OsFacts, name: &str, action: ServiceAction) -> Result<Plan<ServiceOutcome>> {
    let name = checked(name)?;
    let step: Step = match init(facts)? {
        InitSystem::Systemd => script(SYSTEMD_CONTROL, [unit(name).as_str(), action.word(), name]),
        InitSystem::OpenRc => script(OPENRC_CONTROL, [name, action.word()]),
        InitSystem::SysV => script(SYSV_CONTROL, [name, action.word()]),
    };
    Ok(Plan::new(step.with_timeout(CONTROL_TIMEOUT), |output| {
        let unchanged = Sections::of(output)?.bytes("unchanged").is_ok();
        Ok(if unchanged { ServiceOutcome::Unchanged } else { ServiceOutcome::Changed })
    }))
}

/// A unit's name has the unit's kind behind it.
fn unit(name: &str) -> String {
    if name.ends_with(".service") { name.to_owned() } else { format!("{name}.service") }
}

const PROPERTIES: &str = "Id,Description,LoadState,ActiveState,SubState,UnitFileState,MainPID";

/// Those in memory with their state, then those that are only files.
const SYSTEMD_LIST: &str = r#"
s units; systemctl --no-pager show '*.service' --property="$1" || exit
s files; systemctl --no-pager --no-legend --plain list-unit-files --type=service
"#;

const SYSTEMD_ONE: &str = r#"
s units; systemctl --no-pager show "$1" --property="$2" || exit
s files
"#;

const SYSTEMD_CONTROL: &str = r#"
t=$(systemctl show "$1" --property=LoadState,ActiveState,UnitFileState) || exit
case $t in
  *LoadState=not-found*) fail 90 "no such service: $3" ;;
  *LoadState=masked*) fail 96 "the service is masked: $3" ;;
esac
same() { s unchanged; exit 0; }
case $2/$t in
  start/*ActiveState=active*|stop/*ActiveState=inactive*|stop/*ActiveState=failed*) same ;;
  enable/*UnitFileState=enabled*|disable/*UnitFileState=disabled*) same ;;
  enable/*UnitFileState=static*|disable/*UnitFileState=static*|enable/*UnitFileState=generated*|disable/*UnitFileState=generated*)
    fail 96 "the service can't be enabled or disabled, others start it: $3" ;;
esac
systemctl --no-ask-password "$2" "$1" >&2 || exit
s changed
"#;

/// Reads blocks of `Key=value` lines, and the list of unit files.
fn read_systemd(output: &Output) -> Result<Vec<Service>> {
    let sections = Sections::of(output)?;
    let mut all = BTreeMap::new();
    for block in sections.text("units")?.split("\n\n") {
        let field = |key: &str| block.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
        let id = field("Id");
        let Some(name) = id.strip_suffix(".service") else { continue };
        if field("LoadState") == "not-found" {
            continue; // another unit only mentions it
        }
        let state = match (field("ActiveState"), field("SubState")) {
            ("active", "exited") => ServiceState::Exited,
            ("active" | "reloading" | "refreshing", _) => ServiceState::Running,
            ("activating", _) => ServiceState::Starting,
            ("deactivating", _) => ServiceState::Stopping,
            ("inactive", _) => ServiceState::Stopped,
            ("failed", _) => ServiceState::Failed,
            _ => ServiceState::Unknown,
        };
        let service = Service {
            name: name.to_owned(),
            // Without a description of its own, systemd gives it its name.
            description: Some(field("Description")).filter(|d| *d != id).unwrap_or_default().to_owned(),
            state,
            enabled: enabled(field("UnitFileState")),
            pid: field("MainPID").parse().ok().filter(|p| *p != 0),
        };
        all.insert(service.name.clone(), service);
    }
    for line in sections.text("files")?.lines() {
        let mut words = line.split_whitespace();
        let (Some(file), Some(state)) = (words.next(), words.next()) else { continue };
        // A template, NAME@.service, is no service by itself, and an alias another's name.
        let name = file.strip_suffix(".service").filter(|n| !n.ends_with('@') && state != "alias");
        let Some(name) = name else { continue };
        all.entry(name.to_owned()).or_insert_with(|| Service {
            name: name.to_owned(),
            description: String::new(),
            state: ServiceState::Stopped,
            enabled: enabled(state),
            pid: None,
        });
    }
    Ok(all.into_values().collect())
}

fn enabled(unit_file_state: &str) -> Option<bool> {
    match unit_file_state {
        "enabled" | "enabled-runtime" => Some(true),
        "disabled" | "masked" | "masked-runtime" => Some(false),
        _ => None,
    }
}

/// OpenRC keeps the state of each service as a link in a folder of that name; enabled are those in a
/// runlevel.
const OPENRC_LIST: &str = r#"
s scripts
for f in /etc/init.d/*; do
  if [ ! -f "$f" ] || [ ! -x "$f" ]; then continue; fi
  n=${f##*/}; st=stopped; on=off
  case $n in functions.sh|rc|rcS|rcK) continue ;; esac
  for d in started starting stopping inactive failed; do if [ -e "/run/openrc/$d/$n" ]; then st=$d; fi; done
  for l in /etc/runlevels/*/"$n"; do if [ -e "$l" ]; then on=on; fi; done
  printf '%s %s %s\n' "$n" "$st" "$on"
done
exit 0
"#;

/// `rc-service status` tells a crashed service from a started one (its code is 32).
const OPENRC_ONE: &str = r#"
s scripts
if [ ! -x "/etc/init.d/$1" ]; then exit 0; fi
rc-service "$1" status >/dev/null 2>&1
case $? in 0) st=started ;; 3) st=stopped ;; 4) st=stopping ;; 8) st=starting ;; 16) st=inactive ;; 32) st=crashed ;; *) st=unknown ;; esac
on=off; for l in /etc/runlevels/*/"$1"; do if [ -e "$l" ]; then on=on; fi; done
printf '%s %s %s\n' "$1" "$st" "$on"
"#;

const OPENRC_CONTROL: &str = r#"
if [ ! -x "/etc/init.d/$1" ]; then fail 90 "no such service: $1"; fi
on=off; for l in /etc/runlevels/*/"$1"; do if [ -e "$l" ]; then on=on; fi; done
same() { s unchanged; exit 0; }
case $2 in
  start) if rc-service "$1" status >/dev/null 2>&1; then same; fi; rc-service "$1" start >&2 ;;
  stop) rc-service "$1" status >/dev/null 2>&1; if [ $? -eq 3 ]; then same; fi; rc-service "$1" stop >&2 ;;
  restart) rc-service "$1" restart >&2 ;;
  enable) if [ $on = on ]; then same; fi; rc-update add "$1" default >&2 ;;
  disable) if [ $on = off ]; then same; fi
    for l in /etc/runlevels/*/"$1"; do l=${l%/*}; rc-update del "$1" "${l##*/}" >&2 || exit; done ;;
esac || exit
s changed
"#;

/// The codes of `status` are those of the Linux Standard Base: 0 runs, 1 and 2 died, 3 stopped.
const SYSV_LIST: &str = r#"
s scripts
cd /
for f in /etc/init.d/*; do
  if [ ! -f "$f" ] || [ ! -x "$f" ]; then continue; fi
  n=${f##*/}; on=off
  case $n in *.sh|functions|skeleton|rc|rcS|rcK|README*) continue ;; esac
  "$f" status </dev/null >/dev/null 2>&1
  case $? in 0) st=started ;; 1|2) st=crashed ;; 3) st=stopped ;; *) st=unknown ;; esac
  for l in /etc/rc[2345S].d/S??"$n" /etc/rc.d/rc[2345].d/S??"$n"; do if [ -e "$l" ]; then on=on; fi; done
  printf '%s %s %s\n' "$n" "$st" "$on"
done
exit 0
"#;

const SYSV_ONE: &str = r#"
s scripts
cd /
f=/etc/init.d/$1
if [ ! -x "$f" ]; then exit 0; fi
"$f" status </dev/null >/dev/null 2>&1
case $? in 0) st=started ;; 1|2) st=crashed ;; 3) st=stopped ;; *) st=unknown ;; esac
on=off
for l in /etc/rc[2345S].d/S??"$1" /etc/rc.d/rc[2345].d/S??"$1"; do if [ -e "$l" ]; then on=on; fi; done
printf '%s %s %s\n' "$1" "$st" "$on"
"#;

const SYSV_CONTROL: &str = r#"
cd /
f=/etc/init.d/$1
if [ ! -x "$f" ]; then fail 90 "no such service: $1"; fi
on=off
for l in /etc/rc[2345S].d/S??"$1" /etc/rc.d/rc[2345].d/S??"$1"; do if [ -e "$l" ]; then on=on; fi; done
same() { s unchanged; exit 0; }
state() { "$f" status </dev/null >/dev/null 2>&1; }
nothing() { fail 92 "nothing here enables System V services: neither update-rc.d nor chkconfig is there"; }
case $2 in
  start) if state; then same; fi; "$f" start </dev/null >&2 ;;
  stop) state; if [ $? -eq 3 ]; then same; fi; "$f" stop </dev/null >&2 ;;
  restart) "$f" restart </dev/null >&2 ;;
  enable) if [ $on = on ]; then same; fi
    if has update-rc.d; then update-rc.d "$1" defaults >&2 && update-rc.d "$1" enable >&2
    elif has chkconfig; then chkconfig "$1" on >&2; else nothing; fi ;;
  disable) if [ $on = off ]; then same; fi
    if has update-rc.d; then update-rc.d "$1" disable >&2
    elif has chkconfig; then chkconfig "$1" off >&2; else nothing; fi ;;
esac || exit
s changed
"#;

/// Reads lines of name, state and whether it is enabled.
fn read_scripts(output: &Output) -> Result<Vec<Service>> {
    let mut all = Vec::new();
    for line in Sections::of(output)?.text("scripts")?.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, state, on] = words[..] else { return Err(garbled("a service has too few fields")) };
        let state = match state {
            "started" => ServiceState::Running,
            "starting" => ServiceState::Starting,
            "stopping" => ServiceState::Stopping,
            "stopped" | "inactive" => ServiceState::Stopped,
            "failed" | "crashed" => ServiceState::Failed,
            _ => ServiceState::Unknown,
        };
        all.push(Service {
            name: name.to_owned(),
            description: String::new(),
            state,
            enabled: Some(on == "on"),
            pid: None,
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}
