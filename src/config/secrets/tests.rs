//! Files of secrets: what counts in them, and what happens when they change.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes as a mounted secret changes: a new file takes the old one's name.
    fn write(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.0.path().join("secret");
        std::fs::write(self.0.path().join("new"), text).unwrap();
        std::fs::rename(self.0.path().join("new"), &file).unwrap();
        file
    }
}

fn live(secrets: &Secrets) -> Vec<String> {
    secrets.live().iter().map(|secret| secret.expose_secret().to_owned()).collect()
}

fn numbers(secrets: &Secrets) -> Vec<u64> {
    secrets.live().iter().map(|secret| secret.number).collect()
}

/// Looks at a file that was changed until what it holds counts.
#[track_caller]
fn read_anew(refresh: impl Fn() -> Result<bool, String>) -> Result<bool, String> {
    assert_eq!(refresh(), Ok(false), "a file may be half written when it is first seen");
    let outcome = refresh();
    assert_eq!(refresh().map(|_| ()), outcome.clone().map(|_| ()));
    outcome
}

fn holder(tokens: &Tokens, token: &[u8]) -> Option<(String, Scope)> {
    tokens.find(token).map(|token| (token.name.clone(), token.scope))
}

#[test]
fn a_file_holds_one_secret_a_line() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("# the first\n\n one \r\n#two\nthree\none")).unwrap();
    assert_eq!(live(&secrets), ["one", "three"]);
}

#[test]
fn a_changed_file_counts_once_it_was_seen_twice() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("one")).unwrap();
    assert_eq!(secrets.refresh(), Ok(false));
    file.write("# only a remark\none\n");
    assert_eq!(secrets.refresh(), Ok(false));
    file.write("two");
    assert_eq!(read_anew(|| secrets.refresh()), Ok(true));
    assert_eq!(live(&secrets), ["two"]);
}

#[test]
fn what_is_seen_while_a_file_is_written_never_counts() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("first-secret")).unwrap();
    for half in ["", "first-secret\nsec", "first-secret\nsecond-sec"] {
        file.write(half);
        assert_eq!(secrets.refresh(), Ok(false));
        assert_eq!(live(&secrets), ["first-secret"]);
    }
    file.write("first-secret\nsecond-secret\n");
    assert_eq!(read_anew(|| secrets.refresh()), Ok(true));
    assert_eq!(live(&secrets), ["first-secret", "second-secret"]);
}

#[test]
fn a_secret_keeps_its_number_and_its_count_for_as_long_as_it_counts() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("one\ntwo")).unwrap();
    secrets.live()[1].usage.note(7);
    for (text, expected) in [("two\none", vec![2, 1]), ("two\nthree", vec![2, 3]), ("one\nthree\ntwo", vec![4, 3, 2])] {
        file.write(text);
        assert_eq!(read_anew(|| secrets.refresh()), Ok(true));
        assert_eq!(numbers(&secrets), expected, "{text}");
    }
    let uses: Vec<_> = secrets.live().iter().map(|secret| (secret.usage.uses(), secret.usage.last_millis())).collect();
    assert_eq!(uses, [(0, None), (0, None), (1, Some(7))]);
}

#[test]
fn an_unusable_file_leaves_what_counted_before() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("one")).unwrap();
    let many: String = (0..17).map(|n| format!("{n}\n")).collect();
    let large = "x".repeat(70_000);
    for text in ["", many.as_str(), "# nothing\n", large.as_str()] {
        let path = file.write(text);
        assert!(read_anew(|| secrets.refresh()).unwrap_err().contains(&*path.to_string_lossy()));
        assert_eq!(live(&secrets), ["one"]);
    }
    let path = file.write([0xff, 0xfe]);
    assert!(read_anew(|| secrets.refresh()).is_err());
    std::fs::remove_file(path).unwrap();
    assert!(read_anew(|| secrets.refresh()).is_err());
    assert_eq!(live(&secrets), ["one"]);
    file.write("one");
    assert_eq!(read_anew(|| secrets.refresh()), Ok(false));
}

#[test]
fn secrets_given_in_place_never_change() {
    assert_eq!(Secrets::given(vec!["one".into()]).unwrap().refresh(), Ok(false));
    assert_eq!(Tokens::default().refresh(), Ok(false));
}

#[test]
fn a_file_without_good_entries_is_a_fault() {
    let file = Folder::new();
    assert!(Secrets::in_file(file.write("")).is_err());
    assert!(Tokens::in_file(file.write("# nobody")).is_err());
    assert!(Tokens::in_file(file.write("no token")).unwrap_err().starts_with("entry 1 "));
    assert!(Secrets::in_file(file.0.path().to_owned()).is_err());
}

#[test]
fn tokens_come_and_go_with_their_file() {
    let file = Folder::new();
    let tokens = Tokens::in_file(file.write("one:operate:token-one\ntwo:read:token-two")).unwrap();
    assert!(tokens.guarded());
    assert_eq!(holder(&tokens, b"token-two"), Some(("two".into(), Scope::Read)));
    assert_eq!(tokens.refresh(), Ok(false));
    file.write("one:read:token-one");
    assert_eq!(read_anew(|| tokens.refresh()), Ok(true));
    assert_eq!(holder(&tokens, b"token-two"), None);
    assert_eq!(holder(&tokens, b"token-one"), Some(("one".into(), Scope::Read)));
    file.write("");
    assert!(read_anew(|| tokens.refresh()).is_err());
    file.write("one:read:token-one\nbroken");
    assert!(read_anew(|| tokens.refresh()).unwrap_err().contains("entry 2"));
    assert!(tokens.guarded());
    assert!(holder(&tokens, b"token-one").is_some());
}

#[test]
fn nobody_has_a_scope_where_there_are_no_tokens() {
    assert!(!Tokens::default().guarded());
    assert_eq!(holder(&Tokens::default(), b""), None);
}

proptest! {
    #[test]
    fn only_the_whole_token_has_a_scope(token in prop::collection::vec(any::<u8>(), 0..20)) {
        let tokens = Tokens::given(vec!["a:operate:token-abc".into(), "b:read:token-abd".into()]).unwrap();
        let expected = match token.as_slice() {
            b"token-abc" => Some(("a".to_owned(), Scope::Operate)),
            b"token-abd" => Some(("b".to_owned(), Scope::Read)),
            _ => None,
        };
        prop_assert_eq!(holder(&tokens, &token), expected);
    }
}
