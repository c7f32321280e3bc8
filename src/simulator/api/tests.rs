//! The REST API over a real socket.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::*;
use crate::simulator::tenant::Tenant;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn open(users: u32) -> (Api, Shared) {
    let clock = Clock::manual(Timestamp::parse("2025-11-18T15:30:00Z").unwrap());
    let tenant = Tenant::new(users, 3, clock.clone()).shared();
    (Api::start(tenant.clone(), Rules::documented("good", 1), LOOPBACK, &clock).unwrap(), tenant)
}

async fn get(api: &Api, path: &str) -> reqwest::Response {
    crate::simulator::post::client(&[]).unwrap().get(format!("{}{path}", api.base_url())).bearer_auth("good").send().await.unwrap()
}

async fn json(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_date_header_tells_the_simulated_time() {
    let (api, _) = open(3);
    let response = get(&api, "/api/v1/users?per_page=2").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["date"], "Tue, 18 Nov 2025 15:30:00 GMT");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(json(response).await["users"].as_array().unwrap().len(), 2);
    api.stop().await;
}

#[tokio::test]
async fn an_encoded_email_is_found() {
    let (api, tenant) = open(3);
    let email = tenant.lock().truth("E1000002").unwrap().detail["email"].as_str().unwrap().to_owned();
    let encoded = email.replace('+', "%2B").replace('@', "%40").replace('\'', "%27");
    for path in [email, encoded] {
        let found = json(get(&api, &format!("/api/v1/users/by_email/{path}")).await).await;
        assert_eq!(found["user"]["uid"], "E1000002");
    }
    api.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_name() {
    let (api, _) = open(3);
    assert_eq!(get(&api, "/api/v1/users?page=%FF").await.status(), 400);
    assert_eq!(get(&api, "/api/v1/users/E9999999").await.status(), 404);
    assert_eq!(get(&api, "/elsewhere").await.status(), 404);
    assert_eq!(json(get(&api, "/api/v1/users/E9999999").await).await["error"]["code"], "user_not_found");
    api.stop().await;
}

#[tokio::test]
async fn a_stopped_api_frees_its_port() {
    let (api, _) = open(1);
    assert_eq!(get(&api, "/api/v1/users").await.status(), 200);
    let address = api.address();
    api.stop().await;
    TcpListener::bind(address).unwrap();
}
