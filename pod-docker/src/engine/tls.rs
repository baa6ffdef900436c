//! TLS to a daemon: certificates from a folder, as Docker's own client keeps them.

use pod_core::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder of the certificates: `ca.pem`, `cert.pem` and `key.pem`. The last two come together or not
/// at all; without `ca.pem` the system's authorities count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// The folder.
    pub(crate) dir: PathBuf,
}

impl Certificates {
    /// The certificates of this folder.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

fn unusable(path: &Path, why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "a certificate for the daemon can't be used")
        .with_context("file", path.display().to_string())
        .with_source(why)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| unusable(path, e))?;
    if all.is_empty() {
        return Err(Error::new(ErrorKind::ConfigInvalid, "the file holds no certificate")
            .with_context("file", path.display().to_string()));
    }
    Ok(all)
}

fn roots(ca: &Path) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    if ca.exists() {
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|e| unusable(ca, e))?;
        }
        return Ok(roots);
    }
    let system = rustls_native_certs::load_native_certs();
    let (_, _) = roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        return Err(Error::new(ErrorKind::ConfigInvalid, "there is no authority to check the daemon's certificate by")
            .with_context("file", ca.display().to_string())
            .with_hint("put the daemon's ca.pem there"));
    }
    Ok(roots)
}

/// How to speak TLS with these certificates. The files are read: few and small.
///
/// # Errors
/// `ConfigInvalid` names the file that is missing or not understood.
pub(crate) fn client(of: &Certificates) -> Result<Arc<rustls::ClientConfig>> {
    let roots = roots(&of.dir.join("ca.pem"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::unexpected("TLS can't be set up").with_source(e))?
        .with_root_certificates(roots);
    let (cert, key) = (of.dir.join("cert.pem"), of.dir.join("key.pem"));
    let config = match (cert.exists(), key.exists()) {
        (false, false) => builder.with_no_client_auth(),
        (true, true) => {
            let chain = certificates(&cert)?;
            let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| unusable(&key, e))?;
            builder.with_client_auth_cert(chain, private).map_err(|e| unusable(&cert, e))?
        }
        (has, _) => {
            let missing = if has { key } else { cert };
            return Err(Error::new(ErrorKind::ConfigInvalid, "a client's certificate and its key come together")
                .with_context("missing", missing.display().to_string()));
        }
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_can_not_be_used_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let of = Certificates::new(dir.path());
        std::fs::write(dir.path().join("ca.pem"), "no certificate").expect("a file");
        let e = client(&of).expect_err("no certificate");
        assert_eq!(e.kind(), ErrorKind::ConfigInvalid);
        assert!(e.to_string().contains("ca.pem"), "{e}");
    }
}
