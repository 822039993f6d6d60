//! The golden bodies, and every rule of a heartbeat at its limit and just over it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_protocol::*;
use serde_json::{Value, json};

fn golden(name: &str) -> String {
    let path = format!("{}/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn check(body: &str) -> Result<Heartbeat, Vec<FieldError>> {
    Heartbeat::from_json(&serde_json::from_str(body).expect("the body is JSON"))
}

/// The minimal heartbeat after `change`, checked: the fields that broke a rule.
fn broken_fields(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut body: Value = serde_json::from_str(&golden("heartbeat-minimal")).unwrap();
    change(&mut body);
    match check(&body.to_string()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.field).collect(),
    }
}

/// The type reads the golden body and writes the same JSON back.
#[track_caller]
fn round_trips<T: serde::Serialize + serde::de::DeserializeOwned>(name: &str) {
    let text = golden(name);
    let typed: T =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(
        serde_json::to_value(typed).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap(),
        "{name}"
    );
}

#[test]
fn golden_bodies_round_trip() {
    round_trips::<ShownServer>("server");
    round_trips::<Token>("token");
    round_trips::<Account>("account");
    round_trips::<HeartbeatAnswer>("heartbeat-answer");
    round_trips::<HeartbeatAnswer>("heartbeat-answer-rotate");
    round_trips::<EnrollmentAnswer>("enrollment-answer");
    round_trips::<BatchAnswer>("batch-answer");
    round_trips::<FullProblem>("problem");
    round_trips::<ApiToken>("api-token");
    round_trips::<TotpSetup>("totp-setup");
    round_trips::<SecondFactor>("second-factor");
    for name in ["heartbeat-minimal", "heartbeat-full"] {
        let heartbeat = check(&golden(name)).unwrap();
        let expected: Value = serde_json::from_str(&golden(name)).unwrap();
        assert_eq!(serde_json::to_value(heartbeat).unwrap(), expected, "{name}");
    }
}

#[test]
fn an_enrolment_is_read_as_it_is_sent() {
    let text = golden("enrollment");
    let sent: Value = serde_json::from_str(&text).unwrap();
    let read = |body: &Value| {
        let text = body.to_string();
        let json = serde_json::from_str(&text).unwrap();
        Enrollment::from_json(&json).map_err(|errors| {
            let fields = errors.into_iter().map(|error| error.field);
            fields.collect::<Vec<_>>()
        })
    };
    let enrollment = read(&sent).unwrap();
    assert_eq!(serde_json::to_value(&enrollment).unwrap(), sent);

    let mut rotation = sent.clone();
    rotation.as_object_mut().unwrap().remove("code");
    assert_eq!(read(&rotation).unwrap().code, None);

    assert_eq!(read(&json!({})).unwrap_err(), ["agent_id", "key_sha256"]);
    for (field, wrong) in [
        ("agent_id", json!("7")),
        ("key_sha256", json!("00")),
        ("key_sha256", json!("é".repeat(32))),
        ("code", json!(7)),
        ("code", json!("x".repeat(254))),
        ("hostname", json!("x".repeat(254))),
        ("hostname", json!("a\0b")),
    ] {
        let mut body = sent.clone();
        body[field] = wrong;
        assert_eq!(read(&body).unwrap_err(), [field], "{body}");
    }
}

#[test]
fn a_new_code_has_limits_and_defaults() {
    let read = |body: Value| {
        let text = body.to_string();
        let json = serde_json::from_str(&text).unwrap();
        NewCode::from_json(&json).map_err(|errors| {
            let fields = errors.into_iter().map(|error| error.field);
            fields.collect::<Vec<_>>()
        })
    };
    assert_eq!(read(json!({})).unwrap(), NewCode::default());
    let code = read(json!({
        "max_uses": 100_000, "expires_in": "30d", "flags": {"enabled": false},
        "networks": ["10.0.0.0/8"], "reinstall": true, "note": "rack 7",
    }))
    .unwrap();
    assert_eq!((code.max_uses, code.expires_in), (100_000, MAX_CODE_LIFE));
    assert_eq!(code.flags.enabled, Some(false));
    for (seconds, text) in [(60, "60s"), (5400, "90m"), (604_800, "7d")] {
        let lives = [json!(seconds), json!(text)].map(|life| {
            read(json!({"expires_in": life}))
                .unwrap()
                .expires_in
                .as_secs()
        });
        assert_eq!(lives, [seconds, seconds]);
    }
    for (field, wrong) in [
        ("max_uses", json!(0)),
        ("max_uses", json!(100_001)),
        ("max_uses", json!(1.5)),
        ("max_uses", json!("1")),
        ("expires_in", json!(59)),
        ("expires_in", json!("31d")),
        ("expires_in", json!("1.5h")),
        ("expires_in", json!("")),
        ("expires_in", json!("d")),
        ("expires_in", json!(-60)),
        ("expires_in", json!(90.5)),
        ("expires_in", json!(1e300)),
        ("flags.paid", json!({"paid": 1})),
        ("flags.colour", json!({"colour": true})),
        ("flags", json!([])),
        ("networks", json!("10.0.0.0/8")),
        ("networks[1]", json!(["10.0.0.0/8", 7])),
        ("reinstall", json!("yes")),
        ("note", json!("x".repeat(254))),
        ("note", json!("rack \u{202e}7")),
        ("note", json!("rack\n7")),
        ("uses", json!(1)),
    ] {
        let name = field.split(['.', '[']).next().unwrap();
        assert_eq!(read(json!({name: wrong})).unwrap_err(), [field], "{wrong}");
    }
}

#[test]
fn every_missing_field_is_named_at_once() {
    let errors = check("{}").unwrap_err();
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "countryCode",
            "country",
            "city",
            "hostname",
            "services",
            "load"
        ]
    );
    assert_eq!(
        broken_fields(|body| body["load"] = json!({"cpu": 1})),
        ["load.ram", "load.net"]
    );
    let ip_may_be_left_out = broken_fields(|body| {
        body.as_object_mut().unwrap().remove("ip");
    });
    assert!(ip_may_be_left_out.is_empty());
}

#[test]
fn addresses_are_canonical_and_have_no_zone() {
    for (sent, canonical) in [
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("2001:DB8:0:0:0:0:0:7", "2001:db8::7"),
        ("10.0.0.1", "10.0.0.1"),
    ] {
        assert_eq!(parse_ip(sent).unwrap().to_string(), canonical);
    }
    for bad in [
        "fe80::1%eth0",
        "1.2.3",
        "1.2.3.4:80",
        "01.2.3.4",
        " 1.2.3.4",
        "",
        "host",
        "[::1]",
    ] {
        assert_eq!(
            broken_fields(|body| body["ip"] = json!(bad)),
            ["ip"],
            "{bad:?}"
        );
    }
    assert_eq!(broken_fields(|body| body["ip"] = json!(16_909_060)), ["ip"]);
}

#[test]
fn an_agent_id_is_32_hexadecimal_digits() {
    let digits = "00c0ffee00112233445566778899aabb";
    assert!(broken_fields(|body| body["agent_id"] = json!(digits)).is_empty());
    for bad in [
        json!(""),
        json!(&digits[1..]),
        json!(format!("{digits}0")),
        json!(7),
    ] {
        assert_eq!(
            broken_fields(|body| body["agent_id"] = bad.clone()),
            ["agent_id"],
            "{bad}"
        );
    }
}

#[test]
fn load_is_a_percentage_or_null() {
    for good in [json!(0), json!(100), json!(99.999), json!(null)] {
        assert!(
            broken_fields(|body| body["load"]["cpu"] = good.clone()).is_empty(),
            "{good}"
        );
    }
    for bad in [
        json!(-0.1),
        json!(100.1),
        json!("23.5"),
        json!(true),
        json!([1]),
        json!({}),
    ] {
        assert_eq!(
            broken_fields(|body| body["load"]["cpu"] = bad.clone()),
            ["load.cpu"],
            "{bad}"
        );
    }
    assert_eq!(
        broken_fields(|body| body["load"] = json!([1, 2, 3])),
        ["load"]
    );
}

#[test]
fn lengths_count_characters() {
    let name = |count: usize| "ü".repeat(count);
    assert!(
        broken_fields(|body| body["services"][0]["name"] = json!(name(64))).is_empty()
    );
    assert_eq!(
        broken_fields(|body| body["services"][0]["name"] = json!(name(65))),
        ["services[0].name"]
    );
    assert!(broken_fields(|body| body["metrics"] = json!({ name(64): 1 })).is_empty());
    assert_eq!(
        broken_fields(|body| body["metrics"] = json!({ name(65): 1 })),
        [format!("metrics.{}", name(65))]
    );
    for field in [
        "countryCode",
        "country",
        "region",
        "city",
        "hostname",
        "boot_id",
        "agent_version",
    ] {
        assert!(
            broken_fields(|body| body[field] = json!(name(253))).is_empty(),
            "{field}"
        );
        assert_eq!(
            broken_fields(|body| body[field] = json!(name(254))),
            [field]
        );
    }
}

#[test]
fn tags_have_keys_and_values_as_the_rules_say() {
    let tags = |tags: Value| broken_fields(|body| body["tags"] = tags.clone());
    assert!(tags(json!({"rack/a.b_c-1": "17", "0": "", "k": "ü".repeat(63)})).is_empty());
    assert!(tags(Value::Null).is_empty());
    assert_eq!(tags(json!(["edge"])), ["tags"]);
    assert_eq!(
        tags(json!({"Env": "a", "": "a", "-a": "a", "ok": "a"})),
        ["tags.", "tags.-a", "tags.Env"]
    );
    assert_eq!(
        tags(json!({"a": 1, "b": null, "c": "x".repeat(64), "d": "a\0"})),
        ["tags.a", "tags.b", "tags.c", "tags.d"]
    );
    let many = |count: usize| {
        let members = (0..count).map(|n| (format!("k{n}"), json!("")));
        Value::Object(members.collect())
    };
    assert!(tags(many(32)).is_empty());
    assert_eq!(tags(many(33)), ["tags"]);
}

#[test]
fn at_most_64_services_and_64_metrics() {
    let services = |count| json!(vec![json!({"name": "wg", "active": true}); count]);
    assert!(broken_fields(|body| body["services"] = services(64)).is_empty());
    assert_eq!(
        broken_fields(|body| body["services"] = services(65)),
        ["services"]
    );
    let metrics = |count: usize| {
        Value::Object((0..count).map(|n| (format!("m{n}"), json!(n))).collect())
    };
    assert!(broken_fields(|body| body["metrics"] = metrics(64)).is_empty());
    assert_eq!(
        broken_fields(|body| body["metrics"] = metrics(65)),
        ["metrics"]
    );
    assert_eq!(
        broken_fields(|body| body["metrics"] = json!({"a": "1"})),
        ["metrics.a"]
    );
    assert_eq!(
        broken_fields(|body| body["metrics"] = json!({"a": null})),
        ["metrics.a"]
    );
}

#[test]
fn wrong_types_name_their_field() {
    assert_eq!(
        broken_fields(|body| body["hostname"] = json!(7)),
        ["hostname"]
    );
    assert_eq!(
        broken_fields(|body| body["hostname"] = json!(null)),
        ["hostname"]
    );
    assert_eq!(
        broken_fields(|body| body["services"] = json!({})),
        ["services"]
    );
    assert_eq!(
        broken_fields(|body| body["services"][1] = json!("wg")),
        ["services[1]"]
    );
    assert_eq!(
        broken_fields(|body| body["services"][1]["active"] = json!(1)),
        ["services[1].active"]
    );
    assert_eq!(
        broken_fields(|body| body["collected_at"] = json!("yesterday")),
        ["collected_at"]
    );
    assert_eq!(broken_fields(|body| body["seq"] = json!(1.5)), ["seq"]);
    assert_eq!(broken_fields(|body| body["seq"] = json!(-1)), ["seq"]);
    let errors = check(r#"["1.2.3.4", "DE", "Germany"]"#).unwrap_err();
    assert_eq!(
        errors,
        [FieldError::new("", "must be an object, not an array")]
    );
}

#[test]
fn times_are_rfc_3339_and_nothing_else() {
    let broken =
        |time: &str| !broken_fields(|body| body["collected_at"] = json!(time)).is_empty();
    for good in [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31T12:00:00.5+01:00",
        "2026-01-31T12:00:00.123456789012-23:59",
    ] {
        assert!(!broken(good), "{good}");
    }
    for bad in [
        "2026-01-31",
        "2026-01-31T12Z",
        "20260131T120000Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00-04:00[America/New_York]",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "ü026-01-31T12:00:00Z",
    ] {
        assert!(broken(bad), "{bad}");
    }
}

#[test]
fn many_members_are_checked_in_no_time() {
    let members: Vec<String> = (0..80_000).map(|n| format!("\"{n}\":0")).collect();
    let started = std::time::Instant::now();
    assert!(check(&format!("{{{}}}", members.join(","))).is_err());
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = |original: &str, doubled: &str| {
        let body = golden("heartbeat-minimal").replace(original, doubled);
        check(&body)
            .unwrap_err()
            .into_iter()
            .map(|error| error.field)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        twice(r#""ip": "1.2.3.4""#, r#""ip": "1.2.3.4", "ip": "1.2.3.5""#),
        ["ip"]
    );
    assert_eq!(
        twice(r#""cpu": 23.5"#, r#""cpu": 23.5, "cpu": 1"#),
        ["load.cpu"]
    );
    assert_eq!(
        twice(r#""load""#, r#""metrics": {"a": 1, "a": 2}, "load""#),
        ["metrics.a"]
    );
}

#[test]
fn names_come_back_as_sent_but_for_nul() {
    let odd = "a.b$c \u{1F980}\n\u{7f}\"\\";
    let body = json!({"countryCode": "", "country": "", "city": "", "hostname": odd,
        "services": [{"name": odd, "active": true}], "load": {"cpu": null, "ram": null, "net": null},
        "metrics": {odd: 1}, "unknown": {"deep": [1, 2]}});
    let heartbeat = check(&body.to_string()).unwrap();
    assert_eq!(
        (
            heartbeat.hostname.as_str(),
            heartbeat.services[0].name.as_str(),
            heartbeat.metrics.contains_key(odd)
        ),
        (odd, odd, true)
    );
    assert_eq!(
        broken_fields(|body| body["services"][0]["name"] = json!("w\0g")),
        ["services[0].name"]
    );
    assert_eq!(
        broken_fields(|body| body["metrics"] = json!({"w\0g": 1})),
        ["metrics.w\0g"]
    );
}

#[test]
fn a_flags_patch_holds_booleans_only() {
    let check = |body: Value| {
        FlagsPatch::from_json(&serde_json::from_str(&body.to_string()).unwrap())
    };
    let patch = check(json!({"gaming": true, "enabled": false})).unwrap();
    let flags = patch.apply(Flags {
        is_static: true,
        ..Flags::default()
    });
    assert_eq!(
        flags,
        Flags {
            gaming: true,
            enabled: false,
            is_static: true,
            streaming: false,
            paid: false
        }
    );
    assert_eq!(check(json!({})).unwrap(), FlagsPatch::default());
    for (body, field) in [
        (json!({"gaming": 1}), "gaming"),
        (json!({"static": null}), "static"),
        (json!({"admin": true}), "admin"),
        (json!([]), ""),
    ] {
        assert_eq!(check(body).unwrap_err()[0].field, field);
    }
}

/// The fields of `body` that break a rule of `from_json`.
fn broken<T>(
    from_json: impl Fn(&Json<'_>) -> Result<T, Vec<FieldError>>,
    body: &Value,
) -> Vec<String> {
    let body = body.to_string();
    let json: Json<'_> = serde_json::from_str(&body).unwrap();
    let errors = from_json(&json).err().unwrap_or_default();
    errors.into_iter().map(|error| error.field).collect()
}

#[test]
fn bodies_about_users_name_every_field_that_is_wrong() {
    let long = "x".repeat(254);
    for (body, fields) in [
        (json!({"username": "ann", "role": "admin"}), &[][..]),
        (
            json!({"username": "ann", "role": "admin", "password": null}),
            &[],
        ),
        (json!({}), &["username", "role"]),
        (json!([]), &[""]),
        (
            json!({"username": 1, "role": "root", "password": [], "scope": 1, "x": 1}),
            &["x", "username", "role", "password", "scope"],
        ),
        (
            json!({"username": long, "role": null}),
            &["username", "role"],
        ),
    ] {
        assert_eq!(broken(NewUser::from_json, &body), fields, "{body}");
    }
    for (body, fields) in [
        (json!({}), &[][..]),
        (
            json!({"role": "readonly", "password": "x", "scope": "all"}),
            &[],
        ),
        (json!({"scope": null}), &[]),
        (json!({"scope": ["all"]}), &["scope"]),
        (
            json!({"role": "Admin", "username": "x"}),
            &["username", "role"],
        ),
    ] {
        assert_eq!(broken(UserPatch::from_json, &body), fields, "{body}");
    }

    let scope_of = |body: Value| {
        let body = body.to_string();
        let json: Json<'_> = serde_json::from_str(&body).unwrap();
        UserPatch::from_json(&json).unwrap().scope
    };
    let hosts = ScopePatch::Hosts("paid".to_owned());
    assert_eq!(scope_of(json!({"scope": "paid"})), hosts);
    assert_eq!(scope_of(json!({"scope": null})), ScopePatch::AllHosts);
    assert_eq!(scope_of(json!({"role": "admin"})), ScopePatch::Keep);

    let body = json!({"current_password": true, "new": "x"});
    let fields = ["new", "current_password", "new_password"];
    assert_eq!(broken(PasswordChange::from_json, &body), fields);
    let body = json!({"code": 123_456});
    assert_eq!(broken(TotpRequest::from_json, &body), ["password", "code"]);
    assert_eq!(broken(TotpConfirmation::from_json, &body), ["code"]);
}

#[test]
fn an_api_token_is_asked_for_with_a_name_scopes_and_an_end() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({
            "name": "Grafana",
            "scopes": ["metrics:read", "servers:read"],
            "expires_in": "90d",
            "networks": ["192.0.2.0/24"],
        });
        change(&mut body);
        body
    };
    let good = with(&|_| {});
    let text = good.to_string();
    let token = NewApiToken::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(
        token.scopes,
        [Scope::ServersRead, Scope::MetricsRead],
        "in order"
    );

    for (body, fields) in [
        (with(&|body| body["networks"] = Value::Null), &[][..]),
        (json!({}), &["name", "expires_in", "scopes"]),
        (with(&|body| body["name"] = json!(" ")), &["name"]),
        (
            with(&|body| body["name"] = json!("x".repeat(65))),
            &["name"],
        ),
        (with(&|body| body["scopes"] = json!([])), &["scopes"]),
        (
            with(&|body| body["scopes"] = json!("servers:read")),
            &["scopes"],
        ),
        (
            with(&|body| {
                body["scopes"] = json!(["users:write", 1, "sd:read", "sd:read"]);
            }),
            &["scopes[0]", "scopes[1]", "scopes[3]"],
        ),
        (
            with(&|body| body["networks"] = json!([1])),
            &["networks[0]"],
        ),
        (
            with(&|body| body["networks"] = json!(vec!["::/0"; 65])),
            &["networks"],
        ),
        (
            with(&|body| body["expires_at"] = json!("90d")),
            &["expires_at"],
        ),
    ] {
        assert_eq!(broken(NewApiToken::from_json, &body), fields, "{body}");
    }
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse(), Ok(scope));
        assert_eq!(json!(scope), json!(scope.as_str()));
    }
}
