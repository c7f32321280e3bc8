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

#[test]
fn a_file_holds_one_secret_a_line() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("# the first\n\n one \r\n#two\nthree")).unwrap();
    assert_eq!(live(&secrets), ["one", "three"]);
}

#[test]
fn a_changed_file_counts_after_a_refresh() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("one")).unwrap();
    assert_eq!(secrets.refresh(), Ok(false));
    file.write("# only a remark\none\n");
    assert_eq!(secrets.refresh(), Ok(false));
    file.write("two");
    assert_eq!(secrets.refresh(), Ok(true));
    assert_eq!(live(&secrets), ["two"]);
}

#[test]
fn an_unusable_file_leaves_what_counted_before() {
    let file = Folder::new();
    let secrets = Secrets::in_file(file.write("one")).unwrap();
    let many = "x\n".repeat(17);
    let large = "x".repeat(70_000);
    for text in ["", "# nothing\n", many.as_str(), large.as_str()] {
        let path = file.write(text);
        assert!(secrets.refresh().unwrap_err().contains(&*path.to_string_lossy()));
        assert_eq!(live(&secrets), ["one"]);
    }
    let path = file.write([0xff, 0xfe]);
    assert!(secrets.refresh().is_err());
    std::fs::remove_file(path).unwrap();
    assert!(secrets.refresh().is_err());
    assert_eq!(live(&secrets), ["one"]);
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
    assert_eq!(tokens.scope_of(b"token-two"), Some(("two".into(), Scope::Read)));
    assert_eq!(tokens.refresh(), Ok(false));
    file.write("one:read:token-one");
    assert_eq!(tokens.refresh(), Ok(true));
    assert_eq!(tokens.scope_of(b"token-two"), None);
    assert_eq!(tokens.scope_of(b"token-one"), Some(("one".into(), Scope::Read)));
    file.write("");
    assert!(tokens.refresh().is_err());
    file.write("one:read:token-one\nbroken");
    assert!(tokens.refresh().unwrap_err().contains("entry 2"));
    assert!(tokens.guarded());
    assert!(tokens.scope_of(b"token-one").is_some());
}

#[test]
fn nobody_has_a_scope_where_there_are_no_tokens() {
    assert!(!Tokens::default().guarded());
    assert_eq!(Tokens::default().scope_of(b""), None);
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
        prop_assert_eq!(tokens.scope_of(&token), expected);
    }
}
