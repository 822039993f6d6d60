CREATE TABLE history (
        ip TEXT NOT NULL,
        collected_at INTEGER NOT NULL,
        heartbeat TEXT NOT NULL,            -- JSON, as the agent spooled it
        PRIMARY KEY (ip, collected_at)
    ) STRICT, WITHOUT ROWID;
CREATE TABLE servers (
        ip TEXT PRIMARY KEY,
        server_id TEXT NOT NULL UNIQUE,
        hostname TEXT NOT NULL,
        country_code TEXT NOT NULL,
        country TEXT NOT NULL,
        region TEXT,
        city TEXT NOT NULL,
        status TEXT NOT NULL,
        last_heartbeat INTEGER NOT NULL,    -- milliseconds since 1970, UTC
        first_heartbeat INTEGER NOT NULL,
        cpu REAL, ram REAL, net REAL,       -- percent, NULL where not measured
        services TEXT NOT NULL,             -- JSON, as in the API
        metrics TEXT NOT NULL,              -- JSON, as in the API
        gaming INTEGER NOT NULL,
        streaming INTEGER NOT NULL,
        paid INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        static INTEGER NOT NULL
    ) STRICT;
CREATE TABLE users (
        username TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        hashed_password TEXT NOT NULL,
        token_version TEXT NOT NULL
    ) STRICT;
CREATE INDEX history_by_time ON history (collected_at);
INSERT INTO servers VALUES ('192.0.2.7', 'srv-3721f9d6', 'vpn-de-01', 'DE', 'Germany', 'Bavaria', 'Munich', 'active', 1795525811468, 1795525805911, 100.0, 9.09, 0.1, '[{"name":"wg","active":true},{"name":"ov","active":false}]', '{"backup_age_seconds":3600.0,"boot_time_seconds":1795498322.0,"disk_inodes_percent{mount=\"/\"}":5.9,"disk_used_percent{mount=\"/\"}":71.66,"load1":6.27,"load15":10.23,"load5":9.98,"queue_jobs":3.0,"textfile_mtime_seconds{file=\"backup.prom\"}":1795525805.0,"uptime_seconds":27484.77}', 0, 0, 1, 1, 1);
INSERT INTO history VALUES ('192.0.2.7', 1795525805911, '{"ip":"192.0.2.7","countryCode":"DE","country":"Germany","region":"Bavaria","city":"Munich","hostname":"vpn-de-01","services":[{"name":"wg","active":true},{"name":"ov","active":false}],"load":{"cpu":100.0,"ram":9.16,"net":0.0},"metrics":{"backup_age_seconds":3600.0,"boot_time_seconds":1795498322.0,"disk_inodes_percent{mount=\"/\"}":5.9,"disk_used_percent{mount=\"/\"}":71.65,"load1":6.27,"load15":10.23,"load5":9.98,"queue_jobs":3.0,"textfile_mtime_seconds{file=\"backup.prom\"}":1795525805.0,"uptime_seconds":27482.98},"collected_at":"2026-11-24T13:10:05.911Z","boot_id":"5f0c1d9e-6f37-4a7e-9a53-0d8a6f0f1c22","seq":27482980,"agent_version":"0.1.0"}');
INSERT INTO history VALUES ('192.0.2.7', 1795525806098, '{"ip":"192.0.2.7","countryCode":"DE","country":"Germany","region":"Bavaria","city":"Munich","hostname":"vpn-de-01","services":[{"name":"wg","active":true},{"name":"ov","active":false}],"load":{"cpu":100.0,"ram":9.12,"net":0.07},"metrics":{"backup_age_seconds":3600.0,"boot_time_seconds":1795498322.0,"disk_inodes_percent{mount=\"/\"}":5.9,"disk_used_percent{mount=\"/\"}":71.65,"load1":6.27,"load15":10.23,"load5":9.98,"queue_jobs":3.0,"textfile_mtime_seconds{file=\"backup.prom\"}":1795525805.0,"uptime_seconds":27483.19},"collected_at":"2026-11-24T13:10:06.098Z","boot_id":"5f0c1d9e-6f37-4a7e-9a53-0d8a6f0f1c22","seq":27483270,"agent_version":"0.1.0"}');
INSERT INTO history VALUES ('192.0.2.7', 1795525806501, '{"ip":"192.0.2.7","countryCode":"DE","country":"Germany","region":"Bavaria","city":"Munich","hostname":"vpn-de-01","services":[{"name":"wg","active":true},{"name":"ov","active":false}],"load":{"cpu":100.0,"ram":9.12,"net":0.26},"metrics":{"backup_age_seconds":3600.0,"boot_time_seconds":1795498322.0,"disk_inodes_percent{mount=\"/\"}":5.9,"disk_used_percent{mount=\"/\"}":71.65,"load1":6.27,"load15":10.23,"load5":9.98,"queue_jobs":3.0,"textfile_mtime_seconds{file=\"backup.prom\"}":1795525805.0,"uptime_seconds":27483.57},"collected_at":"2026-11-24T13:10:06.501Z","boot_id":"5f0c1d9e-6f37-4a7e-9a53-0d8a6f0f1c22","seq":27483670,"agent_version":"0.1.0"}');
INSERT INTO users VALUES ('admin', 'superadmin', '$2b$12$V9SIVVM1E/.hVWMT7aZHSeLuwa5pvLIecOY5run1JX1MlLoawetqO', 'aa6f541973a45b3c');
INSERT INTO users VALUES ('ann', 'readonly', '$2b$12$dMghbcJ.fxTcY9eCA3h4B.eoVbyaoBMaLFJ0z8R021Nv8gZ1eO1Xm', '789a2c79c07deddf');
PRAGMA user_version = 1;
