//! Whether the test server is honest: Snowflake's own client gets along with it.

use std::process::Command;

use kappa_tests::server::Server;
use kappa_tests::streaming_server::StreamingServer;
use serde_json::Value;

#[test]
fn snowflakes_own_client_streams_into_the_test_server() {
    let Some(sdk) = Server::start("snowpipe-sdk").unwrap() else {
        return;
    };
    let server = StreamingServer::start();
    server.commit_after(1);
    server.create_table(
        "T",
        &[("ID", "NUMBER(38,0)", false), ("NAME", "VARCHAR", false)],
    );
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.p8");
    std::fs::write(&key, server.private_key()).unwrap();
    let properties = server.properties();
    let url = url::Url::parse(&server.url()).unwrap();
    let port = url.port().unwrap().to_string();
    let found = folder.path().join("found.json");
    let send = |first: &str, last: &str| -> Vec<Value> {
        let args = [
            url.host_str().unwrap(),
            &port,
            &properties["ACCOUNT"],
            &properties["USER"],
            key.to_str().unwrap(),
            "SDK",
            first,
            last,
            found.to_str().unwrap(),
        ];
        let output = Command::output(&mut sdk.command("send", &args)).unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&std::fs::read(&found).unwrap()).unwrap()
    };
    // Tokens are texts; of ten rows two have no name, and the table wants one.
    assert_eq!(
        send("0", "10"),
        [Value::Null, "9".into(), 8.into(), 2.into()]
    );
    // Another process goes on where the channel is.
    assert_eq!(
        send("10", "15"),
        ["9".into(), "14".into(), Value::from(12), 3.into()]
    );
    let mut ids: Vec<_> = server
        .rows("T")
        .iter()
        .map(|row| row.value["ID"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14]);
}
