//! The control plane of Kubernetes: API server, controller manager, scheduler.

use super::parts::Part;
use super::process::{Place, Program, get, output};
use super::site::{CONTROL, Lab, PODS, SERVICES};
use super::{certificates, etcd, network};
use std::process::Command;

/// The name of the API server's part.
pub(super) const API: &str = "apiserver";

/// The name of the controller manager's part.
pub(super) const CONTROLLERS: &str = "controller-manager";

/// The name of the scheduler's part.
pub(super) const SCHEDULER: &str = "scheduler";

fn place(lab: &Lab) -> Place {
    Place { netns: lab.netns(), mounts_of: None }
}

/// The lab's kubectl, as the administrator.
pub(super) fn kubectl(lab: &Lab, arguments: &[&str]) -> Result<Command, String> {
    let mut command = place(lab).command(lab.program("kubectl")?, arguments);
    command.env("KUBECONFIG", lab.admin()).env("HOME", lab.state());
    Ok(command)
}

fn program(lab: &Lab, name: &str, flags: Vec<String>) -> Result<Option<Program>, String> {
    let mut words = vec![lab.program(name)?.display().to_string()];
    words.extend(flags);
    Ok(Some(Program { place: place(lab), words }))
}

/// The API server. Roles decide what a user may do (`--authorization-mode=Node,RBAC`).
#[derive(Debug)]
pub(super) struct ApiServer;

impl Part for ApiServer {
    fn name(&self) -> String {
        API.into()
    }

    fn needs(&self) -> Vec<String> {
        [network::NAME, certificates::NAME, etcd::NAME].map(String::from).to_vec()
    }

    fn prepare(&self, _lab: &Lab) -> Result<(), String> {
        Ok(())
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let file = |name| certificates::file(lab, name);
        let flags = vec![
            format!("--etcd-servers={}", etcd::CLIENTS),
            format!("--bind-address={CONTROL}"),
            format!("--advertise-address={CONTROL}"),
            "--secure-port=6443".into(),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            format!("--kubelet-client-certificate={}", file("apiserver-kubelet.crt")),
            format!("--kubelet-client-key={}", file("apiserver-kubelet.key")),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--service-cluster-ip-range={SERVICES}"),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged=true".into(),
            "--anonymous-auth=false".into(),
            // Else it waits a minute for the watches of others when it is stopped.
            "--shutdown-watch-termination-grace-period=1s".into(),
        ];
        program(lab, "kube-apiserver", flags)
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        // With an account of its own it also shows that the first roles are written.
        output(&mut kubectl(lab, &["get", "--raw", "/readyz"])?).map(drop)
    }
}

/// The controllers: they give each node its pod addresses and each namespace its service account.
#[derive(Debug)]
pub(super) struct ControllerManager;

impl Part for ControllerManager {
    fn name(&self) -> String {
        CONTROLLERS.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![API.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        certificates::kubeconfig(lab, "controller-manager", &lab.path("controller-manager.conf"))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let file = |name| certificates::file(lab, name);
        let flags = vec![
            format!("--kubeconfig={}", lab.path("controller-manager.conf").display()),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            // An account for each controller costs seconds: they have to be made, and each needs a token.
            "--use-service-account-credentials=false".into(),
            // The addresses of a node's pods follow from its number, so its CNI configuration has them.
            "--allocate-node-cidrs=false".into(),
            format!("--cluster-cidr={PODS}"),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
            // A kubelet that was killed is noticed in 20 s instead of 40.
            "--node-monitor-period=2s".into(),
            "--node-monitor-grace-period=20s".into(),
        ];
        program(lab, "kube-controller-manager", flags)
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        get(&place(lab), "https://127.0.0.1:10257/healthz").map(drop)
    }
}

/// The scheduler.
#[derive(Debug)]
pub(super) struct Scheduler;

impl Part for Scheduler {
    fn name(&self) -> String {
        SCHEDULER.into()
    }

    fn needs(&self) -> Vec<String> {
        vec![API.into()]
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        certificates::kubeconfig(lab, "scheduler", &lab.path("scheduler.conf"))
    }

    fn program(&self, lab: &Lab) -> Result<Option<Program>, String> {
        let flags = vec![
            format!("--kubeconfig={}", lab.path("scheduler.conf").display()),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
        ];
        program(lab, "kube-scheduler", flags)
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        get(&place(lab), "https://127.0.0.1:10259/readyz").map(drop)
    }
}
