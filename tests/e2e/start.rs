//! How the server starts, refuses to start, and is administered from the command line.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use fleetbeat_tools::client;
use fleetbeat_tools::nginx::free_address;
use fleetbeat_tools::process::{Running, program};
use fleetbeat_tools::server::{FleetbeatServer, run};
use fleetbeat_tools::wait::wait_for;

/// Runs the server on `config` until it ends by itself.
pub(crate) fn refuse(config: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = program("fleetbeat-server");
    command
        .args(["-c".as_ref(), config.as_os_str(), "run".as_ref()])
        .envs(environment.iter().copied())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut refused = Running::spawn(&mut command);

    let status = refused.wait();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    refused
        .child()
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    refused
        .child()
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut stderr)
        .unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A configuration on a data folder of its own; port 0.
fn configure(folder: &Path, settings: &str) -> std::path::PathBuf {
    let file = folder.join("server.toml");
    let data = folder.join("data");
    fs::write(
        &file,
        format!("listen = \"127.0.0.1:0\"\n{settings}\n[storage]\npath = {data:?}\n"),
    )
    .unwrap();
    file
}

#[test]
fn every_configuration_error_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    let text = "listen = \"0.0.0.0:8080\"\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/99\"]\nworkers = -1\ncolour = 1\n\
                [storage]\nbackend = \"oracle\"\npath = \"data\"\n[auth]\ntoken_days = 0\n\
                [sweep]\ninterval = \"often\"\ndown_after = \"2h\"\ndelete_after = \"1h\"\n\
                [tls]\ncertificate = \"/c\"\nkey = \"/k\"\nredirect_listen = \"0.0.0.0:80\"\n\
                [log]\naccess = \"yes\"\n";
    fs::write(&config, text).unwrap();
    let environment = [
        ("SECRET_KEY", "short"),
        ("AGENT_API_KEY", "a,b,c"),
        ("FLEETBEAT_ADMIN_PASSWORD", "short"),
    ];
    for command in ["run", "check-config"] {
        let output = if command == "run" {
            refuse(&config, &environment)
        } else {
            let mut check = program("fleetbeat-server");
            check
                .args(["-c".as_ref(), config.as_os_str(), command.as_ref()])
                .envs(environment)
                .output()
                .unwrap()
        };
        assert_eq!(output.status.code(), Some(78), "{command}");
        let told = error(&output);
        let name = config.display();
        for expected in [
            format!("{name}:1: listen: "),
            format!("{name}:2: trusted_proxies[1]: "),
            format!("{name}:3: workers: "),
            format!("{name}:4: colour: "),
            format!("{name}:6: storage.backend: "),
            format!("{name}:7: storage.path: "),
            format!("{name}:9: auth.token_days: "),
            format!("{name}:11: sweep.interval: "),
            format!("{name}:13: sweep.delete_after: "),
            format!("{name}:17: tls.redirect_listen: "),
            format!("{name}:19: log.access: "),
            "environment: SECRET_KEY: ".to_owned(),
            "environment: AGENT_API_KEY: ".to_owned(),
            "environment: FLEETBEAT_ADMIN_PASSWORD: ".to_owned(),
        ] {
            assert!(
                told.contains(&expected),
                "{expected} is missing in:\n{told}"
            );
        }
        assert_eq!(told.lines().count(), 14, "{told}");
        assert!(!told.contains("short"), "a secret is shown: {told}");
    }
    assert!(!folder.path().join("data").exists());
}

/// A command on `config`; its exit code and what it has told.
fn command(config: &Path, words: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let mut command = program("fleetbeat-server");
    command.arg("-c").arg(config).args(words);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let told = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(told).unwrap(),
    )
}

#[test]
fn check_config_finds_what_would_end_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    let keys = [
        ("AGENT_API_KEY", "k"),
        ("SECRET_KEY", "0123456789abcdef0123456789abcdef"),
    ];
    for (mongodb, redis, named) in [
        ("localhost:27017", "", "mongodb.url: must be mongodb://HOST"),
        (
            "mongodb://user:p@ss@127.0.0.1:1/",
            "",
            "mongodb.url: the name or the password",
        ),
        ("mongodb://127.0.0.1:1/?nosuchoption=1", "", "nosuchoption"),
        (
            "mongodb://127.0.0.1:1/?tls=true&tlsCAFile=/nowhere.pem",
            "",
            "nowhere.pem",
        ),
        (
            "mongodb://127.0.0.1:1",
            "cache.example.com:6379",
            "redis.url: must be redis://",
        ),
        (
            "mongodb://127.0.0.1:1",
            "redis-sentinel://s1:26379/m",
            "redis.url: must be",
        ),
    ] {
        let redis = if redis.is_empty() {
            String::new()
        } else {
            format!("[redis]\nurl = {redis:?}\n")
        };
        let text = format!(
            "listen = \"127.0.0.1:0\"\n[storage]\nbackend = \"mongodb\"\n\
             [mongodb]\nurl = {mongodb:?}\n{redis}"
        );
        fs::write(&config, text).unwrap();
        let (code, told) = command(&config, &["check-config"], &keys);
        assert!(
            code == 78 && told.contains(named),
            "{mongodb} {redis}: {told}"
        );
        assert!(!told.contains("p@ss"), "{told}");
        let refused = refuse(&config, &keys);
        assert_eq!(refused.status.code(), Some(78), "{mongodb} {redis}");
        assert!(!error(&refused).contains("p@ss"), "{}", error(&refused));
    }

    // Both URLs at once, from the environment, and another mistake.
    let text = "workers = -1\n[storage]\nbackend = \"mongodb\"\n";
    fs::write(&config, text).unwrap();
    let both = [("MONGODB_URL", "nothing"), ("REDIS_URL", "nothing")];
    let environment = [keys.as_slice(), &both].concat();
    let (code, told) = command(&config, &["check-config"], &environment);
    assert_eq!((code, told.lines().count()), (78, 3), "{told}");
    for named in [
        ":1: workers: ",
        "environment: MONGODB_URL: ",
        "environment: REDIS_URL: ",
    ] {
        assert!(told.contains(named), "{named} is missing in {told}");
    }

    // The embedded store's folder, and the keys in it.
    let file = configure(folder.path(), "");
    fs::write(folder.path().join("data"), "a file").unwrap();
    let (code, told) = command(&file, &["check-config"], &[]);
    assert!(code == 78 && told.contains("storage.path: "), "{told}");
    fs::remove_file(folder.path().join("data")).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/secret_key"), "too short").unwrap();
    fs::write(folder.path().join("data/agent_api_key"), "a,b,c").unwrap();
    let (code, told) = command(&file, &["check-config"], &[]);
    assert_eq!((code, told.matches("data/").count()), (78, 2), "{told}");
    assert!(!told.contains("too short"), "{told}");
}

#[test]
fn a_short_agent_key_goes_on_working_and_is_told_of() {
    let server = FleetbeatServer::start_with("", &[("AGENT_API_KEY", "short")]);
    let told = "AGENT_API_KEY is shorter than 16 characters";
    assert!(server.log().contains(told), "{}", server.log());
    let (code, text) = command(
        &server.config(),
        &["check-config"],
        &[("AGENT_API_KEY", "short")],
    );
    assert!(code == 0 && text.contains(told), "{text}");
}

#[test]
fn check_config_says_how_far_history_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let history_of = |settings: &str| {
        let config = configure(folder.path(), settings);
        let (code, told) = command(&config, &["check-config"], &[]);
        (code, told)
    };
    let (code, told) = history_of("[history]\nmax_size = \"1GiB\"");
    let expected = "history:     365d, at most 1GiB: room for 365 days of 10 hosts, 365 days \
                    of 100 hosts, 97 days of 1000 hosts, 9 days of 10000 hosts";
    assert_eq!(code, 0, "{told}");
    assert!(told.contains(expected), "{told}");

    let (_, told) = history_of("[history]\nkeep = \"2y\"");
    assert!(told.contains("history:     730d, at most "), "{told}");
    assert!(
        told.contains("half of what is free at the first start"),
        "{told}"
    );
    let (_, told) = history_of("[history]\nenabled = false");
    assert!(told.contains("history:     off\n"), "{told}");

    let wrong = "[history]\nkeep = \"1h\"\nmax_size = \"1KB\"\nmax_series_per_host = 0";
    let (code, told) = history_of(wrong);
    assert_eq!(code, 78);
    for expected in [
        "history.keep: must be from 1d to 3650d",
        "history.max_size: must be \"auto\", or a size such as \"16GiB\"",
        "history.max_series_per_host: must be from 1 to 128",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let (_, told) = history_of("[history]\nmax_size = \"1MiB\"");
    let expected = "history.max_size: must be from 16MiB to 1024TiB";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn drop_ins_win_over_the_file_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "workers = 3");
    let drop_ins = folder.path().join("server.d");
    fs::create_dir(&drop_ins).unwrap();
    for (name, text) in [
        ("10-a.toml", "workers = -1\n[sweep]\ninterval = \"never\"\n"),
        ("20-b.toml", "workers = 5\n"),
        (".hidden.toml", "colour = 1\n"),
        ("notes.txt", "nothing of ours"),
    ] {
        fs::write(drop_ins.join(name), text).unwrap();
    }
    let (code, told) = command(&config, &["check-config"], &[]);
    assert_eq!(code, 78);
    let expected = format!("{}/10-a.toml:3: sweep.interval: ", drop_ins.display());
    assert!(told.contains(&expected), "{told}");
    assert_eq!(told.lines().count(), 1, "workers is replaced: {told}");

    fs::write(drop_ins.join("10-a.toml"), "").unwrap();
    assert_eq!(command(&config, &["check-config"], &[]).0, 0);
}

#[test]
fn commands_on_a_wrong_path_make_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "");
    let file = folder.path().join("b.db");
    let file = file.to_str().unwrap();
    for words in [
        &["user", "list"][..],
        &["user", "passwd", "ann", "--password-stdin"],
        &["user", "remove", "ann"],
        &["backup", file],
    ] {
        let (code, told) = command(&config, words, &[]);
        assert!(
            code == 1 && told.contains("there is no database"),
            "{words:?}: {told}"
        );
        assert!(!folder.path().join("data").exists(), "{words:?}");
    }
    assert!(!Path::new(file).exists());
}

#[test]
fn a_user_who_was_there_first_keeps_no_admin_from_being_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "");
    let add = [
        "user",
        "add",
        "bob",
        "--role",
        "readonly",
        "--password-stdin",
    ];
    let added = run(&config, &add, "password of bob\n");
    assert!(added.status.success(), "{}", error(&added));

    let mut command = program("fleetbeat-server");
    command.args(["-c".as_ref(), config.as_os_str(), "run".as_ref()]);
    command.env("FLEETBEAT_ADMIN_PASSWORD", "password of the tests");
    let mut server = Running::spawn(&mut command);
    wait_for("the first admin", || {
        let listed = run(&config, &["user", "list"], "");
        let listed = String::from_utf8(listed.stdout).unwrap();
        (listed == "admin\tsuperadmin\nbob\treadonly\n").then_some(())
    });
    assert!(server.terminate().success());
}

#[test]
fn the_packaged_configuration_is_fine_and_says_what_is_the_default() {
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/server.toml");
    assert!(run(&packaged, &["check-config"], "").status.success());
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&packaged).unwrap();
    const TLS: [&str; 3] = ["certificate", "key", "redirect_listen"];
    // "# key = value" is an offer, "# Words" is an explanation.
    let offers = |line: &str| {
        line.strip_prefix("# ")
            .filter(|rest| rest.contains(" = "))
            // TLS needs a certificate, and a TCP address to listen on.
            .filter(|rest| !TLS.contains(&rest.split(' ').next().unwrap_or_default()))
            .map(str::to_owned)
    };

    let uncommented: String = text
        .lines()
        .map(|line| offers(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .collect();
    assert_ne!(uncommented, text);
    let file = folder.path().join("server.toml");
    fs::write(&file, uncommented).unwrap();
    let output = run(&file, &["check-config"], "");
    assert!(output.status.success(), "{}", error(&output));
}

#[test]
fn a_missing_or_unreadable_configuration_is_named() {
    let output = refuse(Path::new("/nonexistent/server.toml"), &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        error(&output).contains("/nonexistent/server.toml"),
        "{}",
        error(&output)
    );

    let usage = program("fleetbeat-server")
        .arg("--frobnicate")
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(64));
    assert!(error(&usage).contains("--frobnicate"));
}

#[test]
fn a_port_in_use_an_unusable_folder_and_a_second_server_get_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "");
    let address = taken.local_addr().unwrap().to_string();
    let in_use = refuse(&config, &[("FLEETBEAT_LISTEN", &address)]);
    let running = FleetbeatServer::start();
    let second = refuse(&running.config(), &[]);
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let unusable = folder.path().join("unusable.toml");
    fs::write(
        &unusable,
        format!(
            "listen = \"127.0.0.1:0\"\n[storage]\npath = \"{}/data\"\n",
            file.display()
        ),
    )
    .unwrap();

    for (output, named) in [
        (in_use, address.as_str()),
        (second, "in use by another fleetbeat-server"),
        (refuse(&unusable, &[]), file.to_str().unwrap()),
    ] {
        let told = error(&output);
        assert!(
            output
                .status
                .code()
                .is_some_and(|code| code != 0 && code != 78),
            "{told}"
        );
        assert!(told.contains(named) && told.lines().count() == 1, "{told}");
    }
    assert_eq!(
        running.request("GET", "/healthz", &[], b"").status,
        200,
        "the first server goes on"
    );
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    let mut server = FleetbeatServer::start();
    server.post_heartbeat(
        "/heartbeat",
        include_bytes!("../../protocol/golden/heartbeat-minimal.json"),
    );
    server.stop();
    let file = server.data().join("fleetbeat.db");
    let mut bytes = fs::read(&file).unwrap();
    bytes[..100].fill(0x55);
    fs::write(&file, &bytes).unwrap();
    let output = refuse(&server.config(), &[]);
    let told = error(&output);
    assert!(!output.status.success());
    assert!(
        told.contains("fleetbeat.db is damaged") && told.contains(".recover"),
        "{told}"
    );
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[test]
fn the_first_start_makes_keys_and_an_admin_and_says_the_password_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "");
    let start = || {
        let out = fs::File::create(folder.path().join("out")).unwrap();
        let mut command = program("fleetbeat-server");
        command
            .args(["-c".as_ref(), config.as_os_str()])
            .stdout(out.try_clone().unwrap())
            .stderr(out);
        let child = Running::spawn(&mut command);
        let text = wait_for("the server to listen", || {
            let text = fs::read_to_string(folder.path().join("out")).unwrap();
            text.contains("listening on").then_some(text)
        });
        (child, text)
    };
    let (mut child, text) = start();
    let password = text
        .lines()
        .find_map(|line| line.strip_prefix("created user admin with password "))
        .unwrap();
    let address = text
        .split("http://")
        .nth(1)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let body = format!("username=admin&password={password}");
    assert_eq!(
        client::request(address, "POST", "/token", &[], body.as_bytes())
            .unwrap()
            .status,
        200
    );
    let key = fs::read_to_string(folder.path().join("data/agent_api_key")).unwrap();
    let heartbeat = include_bytes!("../../protocol/golden/heartbeat-minimal.json");
    let answer = client::request(
        address,
        "POST",
        "/heartbeat",
        &[("X-API-Key", key.trim())],
        heartbeat,
    );
    assert_eq!(answer.unwrap().status, 200);
    let mode = |path: &str| {
        fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        ["data", "data/agent_api_key", "data/secret_key"].map(mode),
        [0o700, 0o600, 0o600]
    );
    assert!(child.terminate().success());

    let (mut child, text) = start();
    assert!(!text.contains("password"), "{text}");
    assert_eq!(
        fs::read_to_string(folder.path().join("data/agent_api_key")).unwrap(),
        key
    );
    assert!(child.terminate().success());
}

#[test]
fn user_commands_work_while_the_server_runs() {
    let server = FleetbeatServer::start();
    server.add_user("bob", "readonly", "password of bob");
    assert_eq!(
        server
            .api(
                &server.token("bob", "password of bob"),
                "GET",
                "/servers",
                None
            )
            .status,
        200
    );

    let listed = server.command(&["user", "list"], "");
    assert_eq!(
        String::from_utf8(listed.stdout).unwrap(),
        "admin\tsuperadmin\nbob\treadonly\n"
    );

    for (arguments, input, named) in [
        (
            &["user", "add", "bob", "--role", "admin", "--password-stdin"][..],
            "another password",
            "exists already",
        ),
        (
            &["user", "add", "eve", "--role", "admin", "--password-stdin"],
            "short",
            "8 to 71 bytes",
        ),
        (
            &["user", "add", "", "--role", "admin", "--password-stdin"],
            "a good password",
            "1 to 64 characters",
        ),
        (
            &["user", "passwd", "eve", "--password-stdin"],
            "a good password",
            "no user \"eve\"",
        ),
        (&["user", "remove", "eve"], "", "no user \"eve\""),
        (&["user", "remove", "admin"], "", "last superadmin"),
    ] {
        let output = server.command(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            error(&output).contains(named),
            "{arguments:?}: {}",
            error(&output)
        );
    }
    assert!(
        server
            .command(&["user", "remove", "bob"], "")
            .status
            .success()
    );
}

#[test]
fn a_backup_of_a_running_server_can_be_started_from() {
    let mut server = FleetbeatServer::start();
    server.post_heartbeat(
        "/heartbeat",
        include_bytes!("../../protocol/golden/heartbeat-minimal.json"),
    );

    let copy = server.data().join("copy.db");
    let output = server.command(&["backup", copy.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", error(&output));
    server.post_heartbeat(
        "/heartbeat",
        include_bytes!("../../protocol/golden/heartbeat-full.json"),
    );
    server.stop();
    for name in ["fleetbeat.db", "fleetbeat.db-wal", "fleetbeat.db-shm"] {
        let _ = fs::remove_file(server.data().join(name));
    }
    fs::rename(&copy, server.data().join("fleetbeat.db")).unwrap();
    server.restart();
    assert_eq!(
        server.servers(&server.admin_token()).len(),
        1,
        "as it was at the backup"
    );
}

/// `health` on a configuration; its exit code and its whole output.
fn health(config: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = program("fleetbeat-server");
    command
        .arg("-c")
        .arg(config)
        .arg("health")
        .envs(environment.iter().copied());
    let output = command.output().unwrap();
    (
        output.status.code(),
        [output.stdout, output.stderr]
            .map(|text| String::from_utf8(text).unwrap())
            .concat(),
    )
}

#[test]
fn health_asks_the_running_server_where_its_configuration_says_and_needs_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.toml");
    let socket = format!("unix:{}", folder.path().join("http.sock").display());
    for listen in [free_address().to_string(), socket] {
        let text = format!(
            "listen = {listen:?}\n[storage]\npath = {:?}\n",
            folder.path().join("data")
        );
        fs::write(&config, &text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = program("fleetbeat-server");
        command
            .arg("-c")
            .arg(&config)
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut server = Running::spawn(&mut command);
        wait_for("the server to be healthy", || {
            (health(&config, &[]).0 == Some(0)).then_some(())
        });
        // `health` does not mind the mistakes in the rest of the file.
        fs::write(&config, text + "[sweep]\ninterval = \"never\"\n").unwrap();
        let (code, printed) = health(
            &config,
            &[("SECRET_KEY", "short"), ("AGENT_API_KEY_FILE", "/nowhere")],
        );
        assert_eq!(code, Some(0), "{printed}");
        assert!(
            printed.contains(&listen) && printed.ends_with(" is healthy\n"),
            "{printed}"
        );
        let (code, printed) =
            health(Path::new("/nowhere"), &[("FLEETBEAT_LISTEN", &listen)]);
        assert_eq!(code, Some(0), "{printed}");

        server.freeze();
        let (code, printed) = health(&config, &[]);
        assert_eq!(code, Some(1), "{printed}");
        assert!(
            printed.ends_with("is not healthy: no answer within 4 s\n"),
            "{printed}"
        );
        server.kill();
        let (code, printed) = health(&config, &[]);
        assert_eq!((code, printed.lines().count()), (Some(1), 1), "{printed}");
        assert!(printed.contains("Connection refused"), "{printed}");
    }
    let (code, printed) = health(Path::new("/nowhere"), &[]);
    assert_eq!(code, Some(1));
    assert!(printed.contains("/nowhere: cannot be read"), "{printed}");
    let (code, printed) = health(&config, &[("FLEETBEAT_LISTEN", "here")]);
    assert_eq!(code, Some(1));
    assert!(
        printed.contains("FLEETBEAT_LISTEN must be an address"),
        "{printed}"
    );
}

#[test]
fn a_unix_socket_lets_owner_and_group_in_and_is_taken_over_from_the_dead() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let folder = tempfile::tempdir().unwrap();
    let config = configure(folder.path(), "");
    let socket = folder.path().join("http.sock");
    let listen = format!("unix:{}", socket.display());
    let start = || {
        let mut command = program("fleetbeat-server");
        command
            .args(["-c".as_ref(), config.as_os_str()])
            .env("FLEETBEAT_LISTEN", &listen);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let child = Running::spawn(&mut command);
        wait_for("the socket", || UnixStream::connect(&socket).ok());
        child
    };

    let mut child = start();
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o660
    );

    let mut stream = UnixStream::connect(&socket).unwrap();
    // A Unix socket's peer is trusted, and may name the client behind.
    let body = String::from(include_str!("../../protocol/golden/heartbeat-minimal.json"))
        .replace("\"ip\": \"1.2.3.4\", ", "");
    let key = fs::read_to_string(folder.path().join("data/agent_api_key")).unwrap();

    let headers = [("X-API-Key", key.trim()), ("X-Forwarded-For", "8.8.4.4")];
    stream
        .write_all(&client::encode(
            "POST",
            "/heartbeat",
            &headers,
            body.as_bytes(),
        ))
        .unwrap();
    assert_eq!(client::read_answer(&mut stream).unwrap().status, 200);

    let second = refuse(&config, &[("FLEETBEAT_LISTEN", &listen)]);
    assert!(!second.status.success());
    child.kill();
    assert!(
        start().terminate().success(),
        "the dead server's socket is no obstacle"
    );
    assert!(!socket.exists());
}
