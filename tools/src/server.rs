//! A real fleetbeat-server in a temporary folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Answer};
use crate::contract;
use crate::process::{Running, program, program_path};
use crate::secrets::Secrets;
use crate::wait::wait_for;

/// The agents' key.
pub const AGENT_KEY: &str = "agent-key-of-the-tests";
/// Signs the tokens.
pub const SECRET_KEY: &str = "a secret key of the tests, 32 bytes or more";
/// The password of the superadmin `admin`.
pub const ADMIN_PASSWORD: &str = "password of the tests";

/// A fleetbeat-server process and its folder; dropping the value searches what the server
/// has left behind for secrets, kills the process and removes the folder.
pub struct FleetbeatServer {
    folder: TempDir,
    process: Option<Running>,
    address: SocketAddr,
    environment: BTreeMap<String, String>,
    /// The size of the data folder's file system, where the folder has a file system to
    /// itself.
    disk: Option<&'static str>,
    /// The database's name in MongoDB.
    database: Option<String>,
    secrets: Secrets,
}

/// A test's own database in MongoDB; dropping the value removes the database.
pub struct Database {
    /// Where MongoDB is.
    pub url: String,
    /// The database's name.
    pub name: String,
}

impl Database {
    /// A database with a name that nobody else has.
    ///
    /// # Panics
    /// If `MONGODB_URL` is not set.
    pub fn new() -> Database {
        let url = std::env::var("MONGODB_URL");
        let url = url.expect(
            "MONGODB_URL is not set: run `make test`, which starts the databases",
        );
        Database {
            url,
            name: format!("fleetbeat_test_{:016x}", fastrand::u64(..)),
        }
    }

    /// A connection to the database.
    ///
    /// # Panics
    /// If MongoDB does not answer.
    pub fn connect(&self) -> mongodb::sync::Database {
        mongodb::sync::Client::with_uri_str(&self.url)
            .expect("MongoDB answers")
            .database(&self.name)
    }
}

impl Default for Database {
    fn default() -> Database {
        Database::new()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.connect().drop().run();
    }
}

impl FleetbeatServer {
    /// Starts a server with the usual settings.
    pub fn start() -> FleetbeatServer {
        FleetbeatServer::start_with("", &[])
    }

    /// Starts a server with further settings and environment variables.
    ///
    /// # Panics
    /// If the server does not come up.
    pub fn start_with(settings: &str, environment: &[(&str, &str)]) -> FleetbeatServer {
        FleetbeatServer::configured(settings, environment, None)
    }

    /// Starts a server without keys in the environment, so that the server makes its keys
    /// itself.
    pub fn start_with_keys_of_its_own() -> FleetbeatServer {
        FleetbeatServer::configured(
            "",
            &[("AGENT_API_KEY", ""), ("SECRET_KEY", "")],
            None,
        )
    }

    /// Starts a server on Redis and on MongoDB at `url`, which may lead through a proxy.
    pub fn start_on_mongodb(
        database: &Database,
        url: &str,
        redis: &str,
        settings: &str,
    ) -> FleetbeatServer {
        let settings = format!("{settings}\n[mongodb]\ndatabase = {:?}\n", database.name);
        let mut environment = vec![("MONGODB_URL", url)];
        environment.extend((!redis.is_empty()).then_some(("REDIS_URL", redis)));
        let mut server = FleetbeatServer::configured(&settings, &environment, None);
        server.database = Some(database.name.clone());
        server
    }

    /// Starts a server whose data folder is a file system of `size`, half of it taken up
    /// by a file `filler`. The file system exists in the process's own mount namespace
    /// and ends with the process.
    pub fn start_on_small_disk(size: &'static str) -> FleetbeatServer {
        FleetbeatServer::configured("", &[], Some(size))
    }

    fn configured(
        settings: &str,
        environment: &[(&str, &str)],
        disk: Option<&'static str>,
    ) -> FleetbeatServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let backend = if environment.iter().any(|(name, _)| *name == "MONGODB_URL") {
            "mongodb"
        } else {
            "embedded"
        };
        let text = configuration(settings, backend, &data);
        fs::write(folder.path().join("server.toml"), text).expect("a writable folder");

        let usual = [
            ("AGENT_API_KEY", AGENT_KEY),
            ("SECRET_KEY", SECRET_KEY),
            ("FLEETBEAT_ADMIN_PASSWORD", ADMIN_PASSWORD),
        ];
        let environment = usual.iter().chain(environment);
        let environment = environment
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();

        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = FleetbeatServer {
            folder,
            process: None,
            address,
            environment,
            disk,
            database: None,
            secrets: Secrets::default(),
        };
        for (what, secret) in usual {
            server.secrets.add(what, secret);
        }
        server.restart();
        server
    }

    /// Starts the process again on the same folder and port, after
    /// [`FleetbeatServer::stop`] or [`FleetbeatServer::kill`].
    ///
    /// # Panics
    /// If the server does not come up.
    pub fn restart(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a writable folder");
        let seen = self.log().len();

        let mut command = match self.disk {
            None => program("fleetbeat-server"),
            Some(size) => self.on_small_disk(size),
        };
        command.arg("-c").arg(self.config()).arg("run");

        if self.address.port() != 0 {
            command.env("FLEETBEAT_LISTEN", self.address.to_string());
        }
        command.envs(
            self.environment
                .iter()
                .filter(|(_, value)| !value.is_empty()),
        );
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);

        self.process = Some(Running::spawn(&mut command));
        let address = wait_for("the server to listen", || {
            let log = self.log();
            let line = log[seen..]
                .lines()
                .find_map(|line| line.split_once("listening on "));
            if line.is_none() && !self.is_running() {
                panic!("fleetbeat-server ended: {log}");
            }
            let (_, address) = line?;
            match address.split_once("://") {
                Some((_, address)) => address.trim().parse().ok(),
                // A Unix socket has no address.
                None => Some(self.address),
            }
        });
        self.address = address;
    }

    /// Changes an environment variable, for the next [`FleetbeatServer::restart`].
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// fleetbeat-server in its own mount namespace; user namespaces make that possible
    /// without root.
    fn on_small_disk(&self, size: &str) -> Command {
        let data = self.data();
        fs::create_dir_all(&data).expect("a writable folder");
        let script = format!(
            "mount -t tmpfs -o size={size} none {0} && head -c 512k /dev/zero >{0}/filler && exec \"$0\" \"$@\"",
            data.display()
        );
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", &script])
            .arg(program_path("fleetbeat-server"));
        command
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").pid()
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("server.toml")
    }

    /// The folder of the embedded store.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The whole log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Sends the process a signal, such as `HUP`.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref();
        process.expect("a running server").signal(name);
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Running::is_running)
    }

    /// Asks the server to stop and waits for the end.
    ///
    /// # Panics
    /// If the server does not stop in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.take().expect("the server runs").terminate()
    }

    /// Waits until the server ends by itself.
    ///
    /// # Panics
    /// If the server does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().expect("the server runs").wait()
    }

    /// Kills the server without warning.
    ///
    /// # Panics
    /// If the server does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("the server runs").kill();
    }

    /// Sends a request; a failed connection is an error.
    ///
    /// # Errors
    /// See [`client::request`].
    pub fn try_request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        client::request(self.address, method, target, headers, body)
    }

    /// Sends a request, and holds the answer to the OpenAPI document.
    ///
    /// # Panics
    /// If there is no answer, one that the document does not have, or one that shows a
    /// secret.
    pub fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.secrets.add_request(headers, body);
        let answer = self
            .try_request(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}\n{}", self.log()));
        contract::check(method, target, &answer).unwrap_or_else(|wrong| {
            let body = String::from_utf8_lossy(&answer.body);
            panic!("{method} {target} is not as in openapi.json: {wrong}\n{body}")
        });
        self.secrets
            .search_answer(target, &answer)
            .unwrap_or_else(|found| panic!("{method} {target} shows {found}"));
        answer
    }

    /// `POST /heartbeat` with the right key.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn heartbeat(&self, body: &Value) -> Answer {
        self.post_heartbeat("/heartbeat", body.to_string().as_bytes())
    }

    /// A body to `/heartbeat` or `/heartbeats` with the right key.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn post_heartbeat(&self, target: &str, body: &[u8]) -> Answer {
        let headers = [
            ("X-API-Key", AGENT_KEY),
            ("Content-Type", "application/json"),
        ];
        self.request("POST", target, &headers, body)
    }

    /// Logs a user in.
    ///
    /// # Panics
    /// If the login fails.
    pub fn token(&self, username: &str, password: &str) -> String {
        let body =
            serde_json::json!({"username": username, "password": password}).to_string();
        let answer = self.request(
            "POST",
            "/token",
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        );
        let token = answer.json()["access_token"].as_str().map(str::to_owned);
        token.unwrap_or_else(|| panic!("{username} cannot log in: {answer:?}"))
    }

    /// Logs `admin` in.
    pub fn admin_token(&self) -> String {
        self.token("admin", ADMIN_PASSWORD)
    }

    /// A request as the user behind the token, with a JSON body or without a body.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn api(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Answer {
        let authorization = format!("Bearer {token}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
        ];
        self.request(method, target, &headers, body.as_bytes())
    }

    /// Every server, as `GET /servers` shows it.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn servers(&self, token: &str) -> Vec<Value> {
        let answer = self.api(token, "GET", "/servers?all_servers=true", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().expect("an array").clone()
    }

    /// Runs another command of fleetbeat-server on the same configuration, with `input`
    /// on standard input.
    ///
    /// # Panics
    /// If the command cannot be run.
    pub fn command(&self, arguments: &[&str], input: &str) -> std::process::Output {
        let mut command = program("fleetbeat-server");
        command.envs(
            self.environment
                .get("MONGODB_URL")
                .map(|url| ("MONGODB_URL", url)),
        );
        run_to_end(command.arg("-c").arg(self.config()).args(arguments), input)
    }

    /// As [`FleetbeatServer::command`], in the mount namespace of the running server.
    ///
    /// # Panics
    /// If the command cannot be run.
    pub fn command_inside(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.pid().to_string(),
            "--user",
            "--mount",
            "--preserve-credentials",
            "--",
        ]);
        command
            .arg(program_path("fleetbeat-server"))
            .arg("-c")
            .arg(self.config())
            .args(arguments);
        command.output().expect("nsenter comes with util-linux")
    }

    /// Adds a user by the command line.
    ///
    /// # Panics
    /// If fleetbeat-server refuses the user.
    pub fn add_user(&self, username: &str, role: &str, password: &str) {
        self.secrets.add("password", password);
        let output = self.command(
            &["user", "add", username, "--role", role, "--password-stdin"],
            password,
        );
        assert!(output.status.success(), "{output:?}");
    }
}

impl FleetbeatServer {
    /// Searches what the server has left behind.
    fn search_for_secrets(&self) -> Result<(), String> {
        let secrets = &self.secrets;
        let log = secrets.search(self.log().as_bytes());
        log.map_err(|found| format!("the log: {found}"))?;
        let processes = secrets.search_processes();
        processes.map_err(|found| format!("the list of processes: {found}"))?;
        secrets.search_folder(&self.data())?;
        match &self.database {
            Some(database) => secrets.search_mongodb(database),
            None => Ok(()),
        }
    }
}

impl Drop for FleetbeatServer {
    fn drop(&mut self) {
        if !thread::panicking()
            && let Err(found) = self.search_for_secrets()
        {
            panic!("the server has left a secret in {found}");
        }
    }
}

/// A server.toml with `settings`, which may begin with keys that belong to no table.
fn configuration(settings: &str, backend: &str, data: &Path) -> String {
    let first_table = if settings.starts_with('[') {
        Some(0)
    } else {
        settings.find("\n[")
    };
    let (before_tables, tables) =
        settings.split_at(first_table.unwrap_or(settings.len()));
    format!(
        "listen = \"127.0.0.1:0\"\n{before_tables}\n[storage]\nbackend = {backend:?}\n\
         path = {data:?}\n{tables}"
    )
}

/// Runs a command of fleetbeat-server on a configuration file.
///
/// # Panics
/// If the command cannot be run.
pub fn run(config: &Path, arguments: &[&str], input: &str) -> std::process::Output {
    run_to_end(
        program("fleetbeat-server")
            .arg("-c")
            .arg(config)
            .args(arguments),
        input,
    )
}

fn run_to_end(command: &mut Command, input: &str) -> std::process::Output {
    use std::io::Write;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("fleetbeat-server starts");
    // A command that has already failed reads nothing.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes());
    child.wait_with_output().expect("a child")
}
