//! The cluster's certificate authority, the certificates it gives, and kubeconfigs made of them.
//!
//! Made by openssl(1), version 3: `req -x509` signs in one step.

use super::parts::Part;
use super::process::output;
use super::site::{CONTROL, Lab, Node, SERVICE, make, write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the part.
pub(super) const NAME: &str = "certificates";

/// The user that has a token instead of a certificate, and no rights until a role gives it some.
pub(super) const TOKEN_USER: &str = "token-user";

/// Whose certificate it is, and what for.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The name of its files.
    pub(super) file: String,
    /// The user's or server's name (CN).
    pub(super) name: String,
    /// The groups of the user (O).
    pub(super) groups: Vec<String>,
    /// The names and addresses of a server, as openssl writes them: `IP:10.0.0.1`, `DNS:localhost`.
    pub(super) hosts: Vec<String>,
}

impl Subject {
    /// A user of the cluster.
    pub(super) fn user(file: &str, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        Self { file: file.into(), name: name.into(), groups, hosts: Vec::new() }
    }
}

/// Everything the cluster's parts show each other.
#[derive(Debug)]
pub(super) struct Certificates;

impl Part for Certificates {
    fn name(&self) -> String {
        NAME.into()
    }

    fn prepare(&self, lab: &Lab) -> Result<(), String> {
        let folder = folder(lab);
        if folder.join("complete").exists() {
            return Ok(());
        }
        make(&folder)?;
        write(&folder.join("openssl.cnf"), CONFIGURATION)?;
        authority(&folder)?;
        std::thread::scope(|scope| {
            let running: Vec<_> = subjects(lab).into_iter().map(|s| scope.spawn(move || give(lab, &s))).collect();
            running.into_iter().try_for_each(|r| r.join().map_err(|_| "a thread panicked".to_owned())?)
        })?;
        let token = output(Command::new("openssl").args(["rand", "-hex", "24"]))?;
        write(&folder.join("tokens.csv"), &format!("{},{TOKEN_USER},{TOKEN_USER}\n", token.trim()))?;
        kubeconfig(lab, "admin", &lab.admin())?;
        let token = format!("    token: {}\n", token.trim());
        write(&lab.path("token.conf"), &text(lab, TOKEN_USER, &token)?)?;
        write(&folder.join("complete"), "")
    }

    fn ready(&self, lab: &Lab) -> Result<(), String> {
        if folder(lab).join("complete").exists() { Ok(()) } else { Err("they are not all written".into()) }
    }
}

/// Where they are.
fn folder(lab: &Lab) -> PathBuf {
    lab.path("pki")
}

/// A file of a certificate or key.
pub(super) fn file(lab: &Lab, name: &str) -> String {
    folder(lab).join(name).display().to_string()
}

/// openssl's own file is another on every machine; this is all that is used.
const CONFIGURATION: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[user]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
";

fn subjects(lab: &Lab) -> Vec<Subject> {
    let ip = |address: std::net::Ipv4Addr| format!("IP:{address}");
    let mut api = Subject::user("apiserver", "kube-apiserver", &[]);
    api.hosts = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .iter()
        .map(|n| format!("DNS:{n}"))
        .chain([ip(CONTROL), ip(SERVICE), "IP:127.0.0.1".into()])
        .collect();
    let mut all = vec![
        api,
        Subject::user("apiserver-kubelet", "kube-apiserver-kubelet-client", &["system:masters"]),
        Subject::user("admin", "admin", &["system:masters"]),
        Subject::user("controller-manager", "system:kube-controller-manager", &["system:masters"]),
        Subject::user("scheduler", "system:kube-scheduler", &[]),
        Subject::user("proxy", "system:kube-proxy", &[]),
        Subject::user("cni", "lab:cni", &[]),
    ];
    for node in lab.nodes() {
        let name = format!("system:node:{}", node.name());
        all.push(Subject::user(&kubelet(node), &name, &["system:nodes"]));
        let mut server = Subject::user(&format!("{}-server", kubelet(node)), &name, &[]);
        server.hosts = vec![ip(node.address()), format!("DNS:{}", node.name()), "IP:127.0.0.1".into()];
        all.push(server);
    }
    all
}

/// The name of the files of a kubelet's certificate.
pub(super) fn kubelet(node: Node) -> String {
    format!("kubelet-{}", node.0)
}

fn request(folder: &Path, out: &str, subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "3650", "-utf8", "-subj", subject, "-config"])
        .arg(folder.join("openssl.cnf"))
        .arg("-keyout")
        .arg(folder.join(format!("{out}.key")))
        .arg("-out")
        .arg(folder.join(format!("{out}.crt")));
    command
}

/// The authority, and the key pair that service account tokens are signed with.
fn authority(folder: &Path) -> Result<(), String> {
    output(request(folder, "ca", "/CN=pod-lab").args(["-extensions", "authority"]))?;
    let key = folder.join("sa.key");
    let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out"];
    output(Command::new("openssl").args(make).arg(&key))?;
    output(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(folder.join("sa.pub")))?;
    Ok(())
}

/// Gives a certificate.
pub(super) fn give(lab: &Lab, subject: &Subject) -> Result<(), String> {
    let folder = folder(lab);
    let mut command = request(&folder, &subject.file, &distinguished_name(subject));
    command.arg("-CA").arg(folder.join("ca.crt")).arg("-CAkey").arg(folder.join("ca.key"));
    if subject.hosts.is_empty() {
        command.args(["-extensions", "user"]);
    } else {
        let hosts = format!("subjectAltName={}", subject.hosts.join(","));
        command.args(["-extensions", "server", "-addext", &hosts]);
    }
    output(&mut command).map(drop)
}

/// A name as `-subj` takes it, with what has a meaning there escaped.
fn distinguished_name(subject: &Subject) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('/', "\\/").replace('+', "\\+");
    let groups: String = subject.groups.iter().map(|g| format!("/O={}", escape(g))).collect();
    format!("{groups}/CN={}", escape(&subject.name))
}

/// Writes the kubeconfig of a user that has a certificate.
pub(super) fn kubeconfig(lab: &Lab, user: &str, to: &Path) -> Result<(), String> {
    let read = |name: String| fs::read(folder(lab).join(&name)).map_err(|e| format!("{name}: {e}"));
    let certificate = base64(&read(format!("{user}.crt"))?);
    let key = base64(&read(format!("{user}.key"))?);
    let shown = format!("    client-certificate-data: {certificate}\n    client-key-data: {key}\n");
    write(to, &text(lab, user, &shown)?)
}

fn text(lab: &Lab, user: &str, shown: &str) -> Result<String, String> {
    let authority = fs::read(folder(lab).join("ca.crt")).map_err(|e| format!("ca.crt: {e}"))?;
    let context = format!("lab-{}", lab.name);
    Ok(format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {context}\n  cluster:\n    \
         server: https://{CONTROL}:6443\n    certificate-authority-data: {}\nusers:\n- name: {user}\n  \
         user:\n{shown}contexts:\n- name: {context}\n  context:\n    cluster: {context}\n    user: {user}\n\
         current-context: {context}\n",
        base64(&authority)
    ))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let value = (bits >> (18 - 6 * n)) & 63;
            let padding = n > chunk.len();
            text.push(if padding { '=' } else { char::from(ALPHABET[value as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn names_are_escaped() {
        let subject = Subject::user("f", "a/b+c", &["system:masters", "d\\e"]);
        assert_eq!(distinguished_name(&subject), "/O=system:masters/O=d\\\\e/CN=a\\/b\\+c");
    }
}
