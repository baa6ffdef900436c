//! How fast two pods talk by an attachment: bytes sent by `nc` from one to the other, counted where they
//! arrive and timed where they leave.

use crate::K8sBackend;
use pod_core::{
    Attachment, Backend, Connection, ConnectionExt, Error, ErrorKind, ExecRequest, NetworkName, ProbeOutcome,
    ProbeTarget, Result, WorkloadName,
};
use pod_shell::Pinger;
use std::time::Duration;

/// How large a block is sent at once.
const BLOCK: u64 = 65536;
/// How long a transfer may take.
const LONGEST: Duration = Duration::from_secs(120);

/// What was measured between two pods.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct LinkTest {
    /// Whether the target answers, and how fast, by the attachment.
    pub reach: ProbeOutcome,
    /// How many bytes arrived.
    pub bytes: u64,
    /// How long sending them took.
    pub took: Duration,
}

impl LinkTest {
    /// Bytes in a second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
        let bytes = self.bytes as f64;
        if seconds > 0.0 { bytes / seconds } else { 0.0 }
    }
}

/// Where a pod is on a network.
fn on(all: &[Attachment], workload: &WorkloadName, network: &NetworkName) -> Result<(Attachment, std::net::IpAddr)> {
    let found = all.iter().find(|a| a.network == *network).cloned();
    let found = found.ok_or_else(|| {
        Error::new(ErrorKind::WrongState, "the workload is not on the network")
            .with_context("workload", workload.as_str())
            .with_context("network", network.as_str())
    })?;
    let ip = found.ips.first().map(ipnet::IpNet::addr).ok_or_else(|| {
        Error::new(ErrorKind::WrongState, "the workload has no address on the network")
            .with_context("workload", workload.as_str())
    })?;
    Ok((found, ip))
}

async fn sh(connection: &dyn Connection, script: String) -> Result<String> {
    let out = connection.run(ExecRequest::shell(script).with_timeout(LONGEST)).await?;
    if out.status.success() {
        return Ok(out.stdout_text());
    }
    Err(Error::new(ErrorKind::CommandFailed, "the measuring program failed")
        .with_context("workload", connection.workload().as_str())
        .with_context("status", out.status.to_string())
        .with_context("stderr", out.stderr_text().trim().to_owned())
        .with_hint("the image needs sh, nc, dd and wc, as BusyBox has them"))
}

impl K8sBackend {
    /// Measures between two pods on a network: the reach, then how fast `bytes` (at least 64 KiB) go from
    /// one to the other by that attachment and no other way. The images need `ping`, `nc`, `dd` and `wc`.
    ///
    /// # Errors
    /// `WrongState` when one is not on the network; `CommandFailed` without the tools; `Integrity` when
    /// not all bytes arrived.
    pub async fn measure(
        &self,
        from: &WorkloadName,
        to: &WorkloadName,
        network: &NetworkName,
        bytes: u64,
    ) -> Result<LinkTest> {
        let (source, target) = (self.inspect(from).await?, self.inspect(to).await?);
        let (left, _) = on(&source.attachments, from, network)?;
        let (_, right_ip) = on(&target.attachments, to, network)?;
        let (sender, receiver) = (self.connect(from).await?, self.connect(to).await?);
        let asked = ProbeTarget::new(right_ip).with_interface(left.interface.clone());
        let mut reach = Pinger::new(vec![asked], Duration::from_secs(2)).ask(&*sender).await?;
        let reach = reach.pop().unwrap_or_else(|| ProbeOutcome::Unknown("it was not asked".into()));
        if !reach.reached() {
            return Ok(LinkTest { reach, bytes: 0, took: Duration::ZERO });
        }
        let blocks = bytes.div_ceil(BLOCK).max(1);
        let id = uuid::Uuid::new_v4();
        let port = 20_000 + u32::from(u16::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1]])) % 20_000;
        // Its stdin never ends, or it would end the connection before all has come.
        let listen = format!(
            "f=/tmp/pod-{id}; mkfifo $f || exit; \
             {{ nc -l -p {port} 0<>$f 2>/dev/null || nc -l {port} 0<>$f; }} | wc -c; s=$?; rm -f $f; exit $s"
        );
        // The uptime has hundredths, and is there in every pod.
        let interface = &left.interface;
        let send = format!(
            "n=/sys/class/net/{interface}/statistics/tx_bytes; i=0; \
             while :; do read a x </proc/uptime; read s <$n; \
             o=$(dd if=/dev/zero bs={BLOCK} count={blocks} 2>/dev/null | nc {right_ip} {port} 2>&1) && break; \
             i=$((i+1)); [ $i -lt 25 ] || {{ echo \"$o\" >&2; exit 1; }}; sleep 0.2; done; \
             read b x </proc/uptime; read e <$n; echo $a $b $((e-s))"
        );
        let (arrived, times) = tokio::join!(sh(&*receiver, listen), sh(&*sender, send));
        let times = times?;
        let arrived: u64 =
            arrived?.trim().parse().map_err(|e| Error::unexpected("wc printed no number").with_source(e))?;
        let mut told = times.split_whitespace().filter_map(|t| t.parse::<f64>().ok());
        let (Some(begun), Some(ended), Some(sent)) = (told.next(), told.next(), told.next()) else {
            return Err(Error::unexpected("the sender printed no times").with_context("printed", times));
        };
        let bytes = blocks * BLOCK;
        #[expect(clippy::cast_precision_loss, reason = "compared roughly")]
        if sent < bytes as f64 * 0.9 {
            return Err(Error::new(ErrorKind::Integrity, "the bytes went by another interface than the attachment's")
                .with_context("interface", interface.as_str())
                .with_context("sent by it", format!("{sent}")));
        }
        if arrived != bytes {
            return Err(Error::new(ErrorKind::Integrity, "not all bytes arrived")
                .with_context("sent", bytes.to_string())
                .with_context("arrived", arrived.to_string()));
        }
        let took = Duration::from_secs_f64((ended - begun).max(0.01));
        Ok(LinkTest { reach, bytes: arrived, took })
    }
}
