//! Access to a node: permissions in the file of users, which is reloaded when it changes, and HTTPS with client
//! certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use common::http::read_response;
use common::{Node, Request, Response, Server, eventually, temp_dir, write};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

fn node_with(dir: &Path, flags: &[(&str, &str)]) -> Node {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    Node::new(&dir.join("data")).flags(flags.iter().flat_map(|(flag, file)| [(*flag).to_owned(), path(file)]))
}

fn ask(server: &Server, method: &str, target: &str, who: Option<&str>) -> Response {
    let request = Request::new(method, target).body("[\"SELECT 1\"]");
    server.send(&who.into_iter().fold(request, |request, who| request.basic(who)))
}

const USERS: &str = r#"[
    {"username": "all", "password": "a:b", "perms": ["all"]},
    {"username": "query", "password": "p", "perms": ["query"]},
    {"username": "execute", "password": "p", "perms": ["execute"]},
    {"username": "load", "password": "p", "perms": ["load"]},
    {"username": "backup", "password": "p", "perms": ["backup"]},
    {"username": "snapshot", "password": "p", "perms": ["snapshot"]},
    {"username": "remove", "password": "p", "perms": ["remove"]},
    {"username": "leader-ops", "password": "p", "perms": ["leader-ops"]},
    {"username": "status", "password": "p", "perms": ["status"]},
    {"username": "nothing", "password": "p"},
    {"username": "*", "perms": ["ready"]}
]"#;

#[test]
fn each_path_needs_its_permission() {
    let dir = temp_dir();
    write(dir.path(), "auth.json", USERS);
    let server = node_with(dir.path(), &[("-auth", "auth.json")]).start();
    for (method, target, permission) in [
        ("POST", "/db/execute", "execute"),
        ("POST", "/db/execute?queue", "execute"),
        ("POST", "/db/query", "query"),
        ("POST", "/db/sql", "query"),
        ("GET", "/db/backup", "backup"),
        ("POST", "/db/load", "load"),
        ("POST", "/boot", "load"),
        ("POST", "/snapshot", "snapshot"),
        ("POST", "/reap", "snapshot"),
        ("DELETE", "/remove", "remove"),
        ("GET", "/leader", "leader-ops"),
        ("POST", "/leader", "leader-ops"),
        ("GET", "/status", "status"),
        ("GET", "/nodes", "status"),
        ("GET", "/licenses", "status"),
        ("GET", "/debug/vars", "status"),
    ] {
        for (user, password) in
            ["query", "execute", "load", "backup", "snapshot", "remove", "leader-ops", "status", "nothing"]
                .map(|u| (u, "p"))
        {
            let response = ask(&server, method, target, Some(&format!("{user}:{password}")));
            assert_eq!(response.status != 401, user == permission, "{user} {method} {target}: {}", response.status);
            assert_eq!(response.header("WWW-Authenticate"), Some("Basic realm=\"rqlite\""));
        }
        assert_ne!(ask(&server, method, target, Some("all:a:b")).status, 401, "{target}");
        for stranger in [None, Some(":"), Some("query")] {
            let response = ask(&server, method, target, stranger);
            assert_eq!((response.status, response.text().as_str()), (401, ""), "{stranger:?} {target}");
        }
    }
    // Each failed login takes a second.
    for (target, who) in [("/db/query", "all:wrong"), ("/status", "nobody:p"), ("/boot", "all:wrong")] {
        let response = ask(&server, "POST", target, Some(who));
        assert_eq!((response.status, response.text().as_str()), (401, ""), "{who} {target}");
    }
    for user in ["query:p", "execute:p"] {
        assert_eq!(ask(&server, "POST", "/db/request", Some(user)).status, 401, "both permissions are needed");
    }
    assert_eq!(ask(&server, "POST", "/db/request", Some("all:a:b")).status, 200);
    // All users have the permission of /readyz, so credentials are not checked. Unknown paths need no permission.
    assert_eq!(ask(&server, "GET", "/readyz", Some("all:wrong")).status, 200);
    assert_eq!(ask(&server, "GET", "/nope", None).status, 404);
    assert_eq!(ask(&server, "OPTIONS", "/db/query", None).status, 200);
    assert_eq!(ask(&server, "PUT", "/db/query", None).status, 401, "401 comes before 405");
    assert_eq!(ask(&server, "PUT", "/db/query", Some("query:p")).status, 405);
    assert_eq!(ask(&server, "POST", "/db/query?timeout=x", None).status, 400, "400 comes before 401");
    let body = json!({"transaction": [{"query": "SELECT 1"}]}).to_string();
    assert_eq!(server.send(&Request::json("/main", &body)).status, 401, "ws4sqlite's protocol has the same users");
    assert_eq!(server.send(&Request::json("/main", &body).basic("all:a:b")).status, 200);
    let credentials = json!({"user": "all", "password": "a:b"});
    let inline = json!({"credentials": credentials, "transaction": [{"query": "SELECT 1"}]});
    assert_eq!(server.send(&Request::json("/main", inline)).status, 401, "credentials in the body are ignored");
    assert_eq!(server.send(&Request::new("GET", "/metrics")).status, 401);
}

#[test]
fn the_file_of_users_is_read_again_when_it_changes() {
    let dir = temp_dir();
    let user = |password: &str| format!(r#"[{{"username":"u","password":"{password}","perms":["all"]}}]"#);
    write(dir.path(), "auth.json", user("first"));
    let server = node_with(dir.path(), &[("-auth", "auth.json")]).start();
    let status = |who: &str| ask(&server, "POST", "/db/query", Some(who)).status;
    assert_eq!((status("u:first"), status("u:second")), (200, 401));
    write(dir.path(), "auth.json", user("second"));
    eventually("the new password holds", || status("u:second") == 200);
    assert_eq!(status("u:first"), 401);
    // A file that cannot be read is reported, and the users stay as they were.
    write(dir.path(), "auth.json", "[{");
    server.wait_stderr("auth.json");
    assert_eq!((status("u:second"), status("u:first")), (200, 401));
    write(dir.path(), "auth.json", user("third"));
    eventually("the repaired file is read", || status("u:third") == 200);
}

/// A certificate authority.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Authority { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// Signs a certificate for `localhost` with this Common Name, and writes it and its key into a directory.
    fn sign(&self, dir: &Path, name: &str) {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        write(dir, &format!("{name}.pem"), certificate.pem());
        write(dir, &format!("{name}.key"), key.serialize_pem());
    }
}

/// Sends a GET over TLS, with the client certificate of this name if one is given. `None` if the server refuses the
/// connection.
fn get_secured(
    address: SocketAddr,
    ca: &CertificateDer<'static>,
    who: Option<(&Path, &str)>,
    target: &str,
) -> Option<Response> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match who {
        Some((dir, name)) => {
            let chain = vec![CertificateDer::from_pem_file(dir.join(format!("{name}.pem"))).unwrap()];
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = std::net::TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(common::http::PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    std::io::Write::write_all(&mut stream, &Request::new("GET", target).encode()).ok()?;
    read_response(&mut std::io::BufReader::new(stream), false).ok()
}

/// Waits until the node serves a client with this certificate.
fn await_ready(server: &Server, ca: &CertificateDer<'static>, who: Option<(&Path, &str)>) {
    eventually("it is ready", || get_secured(server.addr(), ca, who, "/readyz").is_some_and(|r| r.status == 200));
}

#[test]
fn https_is_served_and_plain_http_is_refused() {
    let dir = temp_dir();
    let authority = Authority::new();
    authority.sign(dir.path(), "server");
    let ca = authority.certificate.der().clone();
    let node = node_with(dir.path(), &[("-http-cert", "server.pem"), ("-http-key", "server.key")]);
    let server = node.spawn_server();
    await_ready(&server, &ca, None);
    let nodes = get_secured(server.addr(), &ca, None, "/nodes").unwrap().json();
    assert_eq!(nodes["n1"]["api_addr"], format!("https://127.0.0.1:{}", server.port()));
    let tls = get_secured(server.addr(), &ca, None, "/status?key=http.tls.enabled").unwrap();
    assert_eq!(tls.json(), "true");
    let plain = server.send(&Request::new("GET", "/readyz"));
    assert_eq!((plain.status, &*plain.text()), (400, "Client sent an HTTP request to an HTTPS server.\n"));
    let line = server.wait_stderr("http: TLS handshake error from 127.0.0.1:");
    assert!(line.starts_with("[http] "), "{line}");
    assert!(line.ends_with("client sent an HTTP request to an HTTPS server"), "{line}");
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn certificates_are_read_again_when_they_change() {
    let dir = temp_dir();
    let (old, new) = (Authority::new(), Authority::new());
    old.sign(dir.path(), "server");
    let node = node_with(dir.path(), &[("-http-cert", "server.pem"), ("-http-key", "server.key")]);
    let server = node.spawn_server();
    await_ready(&server, old.certificate.der(), None);
    assert!(get_secured(server.addr(), new.certificate.der(), None, "/readyz").is_none());
    new.sign(dir.path(), "server");
    await_ready(&server, new.certificate.der(), None);
    assert!(get_secured(server.addr(), old.certificate.der(), None, "/readyz").is_none());
}

#[test]
fn only_clients_with_an_accepted_certificate_are_served() {
    let dir = temp_dir();
    let (authority, stranger) = (Authority::new(), Authority::new());
    for name in ["server", "alice", "bob"] {
        authority.sign(dir.path(), name);
    }
    stranger.sign(dir.path(), "mallory");
    write(dir.path(), "ca.pem", authority.certificate.pem());
    let ca = authority.certificate.der().clone();
    let files = [("-http-cert", "server.pem"), ("-http-key", "server.key"), ("-http-ca-cert", "ca.pem")];
    for (name_wanted, lets_bob_in) in [(None, true), (Some("alice"), false)] {
        let name = name_wanted.map(|name| format!("-http-verify-common-name={name}"));
        let flags = ["-http-verify-client".to_owned()].into_iter().chain(name);
        let server = node_with(dir.path(), &files).flags(flags).spawn_server();
        await_ready(&server, &ca, Some((dir.path(), "alice")));
        let served = |who: Option<&str>| {
            let who = who.map(|name| (dir.path(), name));
            get_secured(server.addr(), &ca, who, "/readyz").is_some_and(|response| response.status == 200)
        };
        assert_eq!(served(Some("bob")), lets_bob_in, "{name_wanted:?}");
        assert!(!served(Some("mallory")));
        assert!(!served(None));
        assert!(served(Some("alice")));
        assert_eq!(server.stop().code, Some(0));
    }
}

#[test]
fn failed_logins_delay_only_each_other() {
    let dir = temp_dir();
    write(dir.path(), "auth.json", USERS);
    let server = node_with(dir.path(), &[("-auth", "auth.json")]).start();
    let started = std::time::Instant::now();
    let guess = |who: &'static str| {
        let request = Request::new("POST", "/db/query").body("[\"SELECT 1\"]").basic(who);
        let mut client = server.client();
        client.write(&request.encode()).unwrap();
        client
    };
    // Three failed logins of one user are answered one a second, in any order.
    let guesses: Vec<_> = (0..3).map(|_| guess("query:wrong")).collect();
    assert_eq!(ask(&server, "POST", "/db/query", Some("query:p")).status, 200, "a right password is not delayed");
    assert_eq!(ask(&server, "POST", "/db/query", None).status, 401, "a request without credentials is not delayed");
    for mut client in guesses {
        assert_eq!(client.receive(false).unwrap().status, 401);
    }
    assert!(started.elapsed() >= std::time::Duration::from_secs(3), "{:?}", started.elapsed());
    let line = server.wait_stderr("failed login of user 'query' from 127.0.0.1:");
    assert!(line.starts_with("[http] "), "{line}");
    // More connections do not make guessing faster: beyond a limit, logins of this user from this address are refused.
    let mut many = Vec::new();
    let refused = loop {
        many.push(guess("status:wrong"));
        let answer = ask(&server, "GET", "/status", Some("status:p"));
        if answer.status == 503 {
            break answer;
        }
        assert!(many.len() < 1000, "guessing has no limit");
    };
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(ask(&server, "POST", "/db/query", Some("query:p")).status, 200);
}

#[test]
fn a_right_password_is_never_refused_when_checks_are_saturated() {
    let dir = temp_dir();
    // Each check takes some hundredths of a second, so that many are queued when the last request arrives.
    let hash = bcrypt::hash("p", 9).unwrap();
    let name = |n: usize| format!("u{n}");
    let users: Vec<_> = (0..600).map(|n| json!({"username": name(n), "password": hash, "perms": ["query"]})).collect();
    write(dir.path(), "auth.json", serde_json::Value::from(users).to_string());
    let server = node_with(dir.path(), &[("-auth", "auth.json")]).start();
    let ask_as = |n: usize| {
        let request = Request::new("POST", "/db/query").body("[\"SELECT 1\"]").basic(&format!("{}:p", name(n)));
        let mut client = server.client();
        client.write(&request.encode()).unwrap();
        client
    };
    let clients: Vec<_> = (0..600).map(ask_as).collect();
    let answers: Vec<_> = clients.into_iter().map(|mut client| client.receive(false).unwrap()).collect();
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(count(200) + count(503), answers.len(), "a right password is never refused");
    assert!(count(200) >= 256 && count(503) > 0, "{} {}", count(200), count(503));
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(refused.header("Retry-After"), Some("1"), "{}", refused.text());
}

#[test]
fn a_certificate_that_is_not_valid_is_warned_about() {
    let dir = temp_dir();
    let sign = |from: (i32, u8, u8), to: (i32, u8, u8)| {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) =
            (rcgen::date_time_ymd(from.0, from.1, from.2), rcgen::date_time_ymd(to.0, to.1, to.2));
        let key = rcgen::KeyPair::generate().unwrap();
        write(dir.path(), "server.pem", parameters.self_signed(&key).unwrap().pem());
        write(dir.path(), "server.key", key.serialize_pem());
    };
    sign((2001, 1, 1), (2002, 1, 1));
    let server = node_with(dir.path(), &[("-http-cert", "server.pem"), ("-http-key", "server.key")]).spawn_server();
    let line = server.wait_stderr("has expired on");
    assert!(line.contains("server.pem") && line.contains("2002"), "{line}");
    sign((2500, 1, 1), (2501, 1, 1));
    // The files are read again when a client connects.
    eventually("the new certificate is warned about", || {
        let _ = get_secured(server.addr(), &Authority::new().certificate.der().clone(), None, "/readyz");
        server.stderr().iter().any(|line| line.contains("is not valid before"))
    });
}

#[test]
fn a_node_without_authentication_on_all_interfaces_is_warned_about() {
    let dir = temp_dir();
    let warns = |flags: &[&str]| {
        let exit = Node::new(&dir.path().join("data")).flags(flags.iter().copied()).start().stop();
        assert_eq!(exit.code, Some(0));
        exit.stderr.iter().any(|line| line.contains("without authentication"))
    };
    write(dir.path(), "auth.json", USERS);
    let auth = dir.path().join("auth.json").to_string_lossy().into_owned();
    let node = |host: &str, flags: &[&str]| {
        let port = common::cluster::free_port();
        let (bound, advertised) = (format!("{host}:{port}"), format!("127.0.0.1:{port}"));
        let words = ["-http-addr", &bound, "-http-adv-addr", &advertised];
        (words.iter().chain(flags).map(|word| (*word).to_owned()).collect::<Vec<_>>(), port)
    };
    assert!(!warns(&[]));
    for (host, flags, expected) in [("0.0.0.0", vec![], true), ("0.0.0.0", vec!["-auth", &auth], false)] {
        let (words, port) = node(host, &flags);
        let server = Node::new(&dir.path().join("data")).flags(words).spawn_server();
        eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        server.wait_stderr("node HTTP API available");
        eventually("it serves", || {
            let mut client = common::Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
            client.send(&Request::new("GET", "/nope")).is_ok()
        });
        let exit = server.stop();
        let warned = exit.stderr.iter().any(|line| line.contains("without authentication"));
        assert_eq!((warned, exit.code), (expected, Some(0)), "{flags:?}: {exit:#?}");
    }
}
