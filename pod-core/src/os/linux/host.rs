//! The host name, reboot and shutdown.

use crate::os::facts::{InitSystem, OsFacts};
use crate::os::host::checked;
use crate::os::plan::Plan;
use crate::os::script::{NONE, script};
use crate::{Error, Result};
use std::time::Duration;

/// The plan that reads the host name.
pub(crate) fn hostname() -> Plan<String> {
    Plan::new(script("exec uname -n", NONE), |output| Ok(output.stdout_text().trim().to_owned()))
}

/// The plan that sets the host name. What can't be written is found before the name is changed.
pub(crate) fn set_hostname(facts: &OsFacts, name: &str) -> Result<Plan<()>> {
    let text = if facts.init == Some(InitSystem::Systemd) && facts.has("hostnamectl") {
        r#"exec hostnamectl --no-ask-password set-hostname "$1" >&2"#
    } else {
        r#"f=/etc/hostname
if [ -e $f ]; then [ -w $f ]; else [ -w /etc ]; fi || fail 93 "no permission to write $f"
if has hostname; then hostname "$1"; else printf '%s\n' "$1" >/proc/sys/kernel/hostname; fi || exit
printf '%s\n' "$1" >$f"#
    };
    Ok(Plan::new(script(text, [checked(name)?]), |_| Ok(())))
}

fn down(facts: &OsFacts, what: &str, systemd: &str, sysv: &str, plain: &str) -> Result<Plan<()>> {
    let text = match facts.init {
        Some(InitSystem::Systemd) => systemd,
        Some(InitSystem::SysV) if facts.has("shutdown") => sysv,
        Some(InitSystem::SysV | InitSystem::OpenRc) => plain,
        None => {
            return Err(Error::unsupported(format!("no init system runs in the workload, so it can't {what} itself"))
                .with_hint(format!("{what} the workload through its backend")));
        }
    };
    Ok(Plan::new(script(text, NONE).with_timeout(Duration::from_secs(20)), |_| Ok(())))
}

/// The plan that reboots.
pub(crate) fn reboot(facts: &OsFacts) -> Result<Plan<()>> {
    down(facts, "restart", "exec systemctl --no-ask-password reboot >&2", "exec shutdown -r now >&2", "exec reboot >&2")
}

/// The plan that shuts down.
pub(crate) fn shutdown(facts: &OsFacts) -> Result<Plan<()>> {
    down(
        facts,
        "stop",
        "exec systemctl --no-ask-password poweroff >&2",
        "exec shutdown -h now >&2",
        "exec poweroff >&2",
    )
}
