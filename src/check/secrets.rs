//! Hides secrets in a dump: passwords, and variables with names such as `API_TOKEN`.

use crate::config::Machine;
use crate::config::model::Config;

/// The text that replaces a secret.
pub const HIDDEN: &str = "********";

/// A variable is secret if its name contains one of these.
const NAMES: [&str; 6] = ["PASS", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "_KEY"];

/// Shorter secrets are hidden only where they are the whole text: otherwise they would match too much.
const PART_MIN: usize = 4;

/// The secrets in a configuration and in the environment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Collects the passwords of the servers, and the secret variables of each `environment=` and of rsup's environment.
    pub fn of(config: &Config, machine: &dyn Machine) -> Self {
        let own = machine.environment();
        let programs = config.groups.iter().flat_map(|group| &group.processes);
        let variables = programs.flat_map(|p| &p.environment).chain(&config.server.environment).chain(&own);
        let named = |name: &str| NAMES.iter().any(|word| name.to_uppercase().contains(word));
        let of_variables = variables.filter(|(name, _)| named(name)).map(|(_, value)| value);
        let of_servers = config.http.iter().filter_map(|server| server.credentials.as_ref()).map(|(_, word)| word);
        let mut all: Vec<String> = of_servers.chain(of_variables).filter(|text| !text.is_empty()).cloned().collect();
        // The longest first, since a secret may contain a shorter one.
        all.sort_by_key(|text| std::cmp::Reverse(text.len()));
        all.dedup();
        Self(all)
    }

    /// What a dump shows for an option with this value.
    #[must_use]
    pub fn shown(&self, key: &str, text: &str) -> String {
        if key == "password" { HIDDEN.into() } else { self.hide(text) }
    }

    /// The text with every secret hidden, and also the password of a URL (`scheme://user:password@host`).
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        if self.0.iter().any(|secret| secret == text) {
            return HIDDEN.into();
        }
        let parts = self.0.iter().filter(|secret| secret.len() >= PART_MIN && text.contains(secret.as_str()));
        let text = parts.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), HIDDEN));
        let mut out = String::new();
        for (i, part) in text.split("://").enumerate() {
            let (authority, rest) = part.split_at(part.find(['/', ' ', '"', '\'', ',']).unwrap_or(part.len()));
            let login = authority.rsplit_once('@').and_then(|(login, host)| Some((login.split_once(':')?.0, host)));
            match login {
                Some((user, host)) if i > 0 => out.push_str(&format!("://{user}:{HIDDEN}@{host}{rest}")),
                _ => out.extend([if i > 0 { "://" } else { "" }, part]),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::fake::FakeMachine;
    use crate::config::{dump, load};
    use std::path::Path;

    #[test]
    fn secrets_are_hidden_anywhere_in_a_text() {
        let secrets = Secrets(vec!["hunter22".into(), "pw".into()]);
        for (text, shown) in [
            ("hunter22", "********"),
            ("pw", "********"),
            ("run --password=hunter22 --pwd", "run --password=******** --pwd"),
            ("U=\"db://me:s3c/x\",V=\"db://me:s3c@h:1/x\"", "U=\"db://me:s3c/x\",V=\"db://me:********@h:1/x\""),
            ("http://localhost:9001/a@b:c", "http://localhost:9001/a@b:c"),
            ("a:b@c", "a:b@c"),
        ] {
            assert_eq!(secrets.hide(text), shown);
        }
    }

    #[test]
    fn a_dump_shows_no_secrets_unless_asked() {
        let text = "[supervisord]\nenvironment=DB_PASSWORD=\"hunter22\",PLAIN=\"seen\"\n[program:a]\ncommand=x -p %(ENV_DB_PASSWORD)s %(ENV_TOKEN)s\n\
                    [supervisorctl]\nusername=me\npassword=p\n[inet_http_server]\nport=1\nusername=me\npassword=q1\n";
        let mut fake = FakeMachine::new(&[("/work/x.conf", text)]);
        fake.environment.push(("TOKEN".into(), "abcdef".into()));
        let config = load(Path::new("x.conf"), &fake).config;
        let secrets = Secrets::of(&config, &fake);
        let hidden = dump(Path::new("x.conf"), &fake, &|key, text| secrets.shown(key, text)).unwrap();
        let plain = dump(Path::new("x.conf"), &fake, &|_, text| text.to_owned()).unwrap();
        for secret in ["hunter22", "abcdef", "password=p", "q1"] {
            assert!(!hidden.contains(secret), "{secret}: {hidden}");
            assert!(plain.contains(secret), "{secret}");
        }
        assert!(hidden.contains("seen") && hidden.contains("username=me"), "{hidden}");
    }
}
