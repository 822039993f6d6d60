//! The secrets that a test uses, and the places where none of them may be: logs, answers,
//! events, databases and lists of processes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use serde_json::Value;

use crate::client::Answer;

/// The fields of JSON bodies, both ways, whose values are secrets.
const FIELDS: [&str; 9] = [
    "access_token",
    "code",
    "current_password",
    "new_password",
    "password",
    "recovery_codes",
    "secret",
    "token",
    "uri",
];
/// Text that is shorter may be anywhere by chance.
const MIN_LENGTH: usize = 8;
/// What the server keeps as it is, because codes are made of it.
const KEPT_AS_IT_IS: [&str; 2] = ["secret", "uri"];
/// Text for people, in which a password of the tests may be a word.
const PROSE: [&str; 2] = ["/openapi.json", "/licenses.md"];

/// The secrets that were used with one server, each with the name of what it is.
#[derive(Default)]
pub struct Secrets(Mutex<BTreeMap<String, String>>);

impl Secrets {
    /// Text that is a secret from now on.
    pub fn add(&self, what: &str, secret: &str) {
        if secret.len() >= MIN_LENGTH {
            let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            secrets.insert(secret.to_owned(), what.to_owned());
        }
    }

    /// The secrets of a request.
    pub fn add_request(&self, headers: &[(&str, &str)], body: &[u8]) {
        for (name, value) in headers {
            let is_key = name.eq_ignore_ascii_case("X-API-Key");
            let bearer = value.strip_prefix("Bearer ");
            if let Some(secret) = is_key.then_some(*value).or(bearer) {
                self.add(name, secret);
            }
        }
        if let Ok(mut body) = serde_json::from_slice(body) {
            self.take_from(&mut body);
        }
    }

    /// Adds the secrets that an answer gives, and searches its rest.
    ///
    /// # Errors
    /// Which secret it shows.
    pub fn search_answer(&self, target: &str, answer: &Answer) -> Result<(), String> {
        if PROSE.contains(&target) {
            return Ok(());
        }
        let rest = match serde_json::from_slice(&answer.body) {
            Ok(mut body) => {
                self.take_from(&mut body);
                body.to_string()
            }
            Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        self.search(rest.as_bytes())?;
        self.search(format!("{:?}", answer.headers).as_bytes())
    }

    /// Adds the secrets of a body, and takes them away from it.
    fn take_from(&self, json: &mut Value) {
        match json {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let is_secret = is_secret(name, value);
                    match value.take() {
                        Value::String(secret) if is_secret => self.add(name, &secret),
                        Value::Array(secrets) if is_secret => {
                            let secrets = secrets.iter().filter_map(Value::as_str);
                            secrets.for_each(|secret| self.add(name, secret));
                        }
                        mut other => {
                            self.take_from(&mut other);
                            *value = other;
                        }
                    }
                }
            }
            Value::Array(elements) => {
                elements
                    .iter_mut()
                    .for_each(|element| self.take_from(element));
            }
            _ => {}
        }
    }

    /// Searches text.
    ///
    /// # Errors
    /// Which secret is in it.
    pub fn search(&self, text: &[u8]) -> Result<(), String> {
        self.search_for(text, |_| true)
    }

    /// Searches the text of a database, where the secrets of second factors are.
    ///
    /// # Errors
    /// Which other secret is in it.
    pub fn search_database(&self, text: &[u8]) -> Result<(), String> {
        self.search_for(text, |what| !KEPT_AS_IT_IS.contains(&what))
    }

    fn search_for(&self, text: &[u8], is_meant: fn(&str) -> bool) -> Result<(), String> {
        let secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(text);
        let meant = secrets.iter().filter(|(_, what)| is_meant(what));
        for (secret, what) in meant {
            if let Some(place) = text.find(secret.as_str()) {
                let around = text[..place].chars().rev().take(60);
                let around: String =
                    around.collect::<Vec<_>>().into_iter().rev().collect();
                return Err(format!("{what} {secret:?} behind {around:?}"));
            }
        }
        Ok(())
    }

    /// Searches the arguments of every process of Fleetbeat, as `ps` shows them.
    ///
    /// # Errors
    /// Which secret is in them.
    pub fn search_processes(&self) -> Result<(), String> {
        let processes = fs::read_dir("/proc").map_err(|error| error.to_string())?;
        for process in processes.flatten() {
            let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let program = arguments.split(|byte| *byte == 0).next();
            let program = String::from_utf8_lossy(program.unwrap_or_default());
            let name = Path::new(program.as_ref()).file_name();
            if name.is_some_and(|name| name.to_string_lossy().starts_with("fleetbeat-")) {
                let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
                self.search(arguments.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Searches the files of the embedded store in this folder.
    ///
    /// # Errors
    /// Which secret is in which file.
    pub fn search_folder(&self, folder: &Path) -> Result<(), String> {
        for file in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.contains(".db") {
                let text = fs::read(file.path()).unwrap_or_default();
                let found = self.search_database(&text);
                found.map_err(|found| format!("{name}: {found}"))?;
            }
        }
        Ok(())
    }

    /// Searches every document of this database in MongoDB.
    ///
    /// # Errors
    /// Which secret is in which collection, or MongoDB does not answer.
    pub fn search_mongodb(&self, database: &str) -> Result<(), String> {
        let url = env::var("MONGODB_URL").map_err(|error| error.to_string())?;
        self.read_mongodb(&url, database)
            .map_err(|error| error.to_string())?
    }

    fn read_mongodb(
        &self,
        url: &str,
        database: &str,
    ) -> mongodb::error::Result<Result<(), String>> {
        let database = mongodb::sync::Client::with_uri_str(url)?.database(database);
        for name in database.list_collection_names().run()? {
            let collection = database.collection::<mongodb::bson::Document>(&name);
            for document in collection.find(mongodb::bson::doc! {}).run()? {
                let found = self.search_database(document?.to_string().as_bytes());
                if let Err(found) = found {
                    return Ok(Err(format!("{name}: {found}")));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Whether a field's value is a secret. In events, `token` is the part of an API token
/// that may be seen.
fn is_secret(name: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    FIELDS.contains(&name)
        && match name {
            "token" => text.starts_with("fbt_"),
            // Of enrolment, or of recovery. Others are the id of a code, or the word that
            // tells a program what is wrong.
            "code" => text.starts_with("fbe_") || text.contains('-'),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: &Value) -> Answer {
        Answer {
            status: 200,
            headers: BTreeMap::new(),
            body: body.to_string().into_bytes(),
        }
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_not_given() {
        let secrets = Secrets::default();
        let body = json!({"username": "ann", "password": "correct horse"}).to_string();
        secrets.add_request(&[("X-API-Key", "key of a host")], body.as_bytes());
        let given = json!({"access_token": "header.claims.signature", "for": "ann"});
        secrets.search_answer("/token", &answer(&given)).unwrap();

        for hidden in ["correct horse", "key of a host", "header.claims.signature"] {
            let text = format!("a line with {hidden} in it");
            secrets.search(text.as_bytes()).unwrap_err();
            secrets.search_database(text.as_bytes()).unwrap_err();
            let shown = json!({"detail": [text]});
            secrets
                .search_answer("/servers", &answer(&shown))
                .unwrap_err();
        }
        secrets.search(b"ann, correct, horse").unwrap();
    }

    #[test]
    fn what_codes_are_made_of_is_in_the_database_alone() {
        let secrets = Secrets::default();
        let given =
            json!({"secret": "JBSWY3DPEHPK3PXP", "recovery_codes": ["abcd-efgh"]});
        secrets.search_answer("/me/totp", &answer(&given)).unwrap();
        secrets.search_database(b"JBSWY3DPEHPK3PXP").unwrap();
        secrets.search(b"JBSWY3DPEHPK3PXP").unwrap_err();
        secrets.search_database(b"abcd-efgh").unwrap_err();
    }

    #[test]
    fn a_code_is_a_secret_and_its_id_is_none() {
        let secrets = Secrets::default();
        let given = json!({"code": "fbe_37850272_qk5d", "id": "37850272"});
        secrets
            .search_answer("/enrollment-codes", &answer(&given))
            .unwrap();
        let listed = json!([{"code": "37850272"}, {"code": "identity_conflict"}]);
        secrets
            .search_answer("/agent-keys", &answer(&listed))
            .unwrap();
        secrets.search(b"37850272: identity_conflict").unwrap();
        secrets
            .search(b"enrolled by fbe_37850272_qk5d")
            .unwrap_err();
    }

    #[test]
    fn arguments_of_processes_are_searched() {
        let secrets = Secrets::default();
        secrets.search_processes().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("fleetbeat-sleeper");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut command = std::process::Command::new(&program);
        let secret = "90.12345678901";
        let _sleeper = crate::process::Running::spawn(command.arg(secret));
        secrets.add("password", secret);
        crate::wait::wait_for("the process to be seen", || {
            secrets.search_processes().is_err().then_some(())
        });
    }
}
