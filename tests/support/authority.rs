//! Certificates of a test's own.

use std::path::Path;
use std::process::Command;

use crate::process::find_program;

/// An authority that makes certificates, `ca.pem`, in `folder`.
#[derive(Debug)]
pub struct Authority<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl<'a> Authority<'a> {
    /// Makes the authority's own certificate, `NAME.pem`.
    ///
    /// # Panics
    /// Panics with what openssl says where it does not make one.
    pub fn new(folder: &'a Path, name: &'a str) -> Self {
        let authority = Self { folder, name };
        authority.make(name, "basicConstraints=critical,CA:TRUE", &[]);
        authority
    }

    /// Makes `NAME.pem` and `NAME-key.pem` for these names.
    ///
    /// # Panics
    /// Panics with what openssl says where it does not make them.
    pub fn vouch(&self, name: &str, names: &str) {
        let (cert, key) = (self.path(self.name), self.path(&format!("{}-key", self.name)));
        let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={names}");
        self.make(name, &extensions, &["-CA", &cert, "-CAkey", &key]);
    }

    fn path(&self, name: &str) -> String {
        self.folder
            .join(format!("{name}.pem"))
            .to_string_lossy()
            .into_owned()
    }

    fn make(&self, name: &str, extensions: &str, signer: &[&str]) {
        let config = self.folder.join(format!("{name}.cnf"));
        let text = format!(
            "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ext\n[dn]\nCN={name}\n[ext]\n{extensions}\n"
        );
        std::fs::write(&config, text).unwrap();
        let output = Command::new(find_program("openssl"))
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
            ])
            .args(["-nodes", "-days", "2", "-config"])
            .arg(&config)
            .args([
                "-out",
                &self.path(name),
                "-keyout",
                &self.path(&format!("{name}-key")),
            ])
            .args(signer)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
