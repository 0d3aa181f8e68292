"""Scopes: from git's files, from CI systems' variables, or as the user says; and never from a secret."""

import json

import pytest

from chandlery.scope import find, normalised_remote

GITHUB = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "team/app", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"}


@pytest.fixture
def checkout(tmp_path):
    def make(url: str, *, head: str = "ref: refs/heads/feature/x\n", default: str = ""):
        git = tmp_path / ".git"
        (git / "refs/remotes/origin").mkdir(parents=True)
        (git / "config").write_text(f'[core]\n\tbare = false\n[remote "other"]\n\turl = https://x/y\n[remote "origin"]\n\turl = {url}\n')
        (git / "HEAD").write_text(head)
        if default:
            (git / "refs/remotes/origin/HEAD").write_text(f"ref: refs/remotes/origin/{default}\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("url", "project"),
    [
        ("https://user:token@Git.Example.com:8443/team/app.git", "git.example.com/team/app"),
        ("git@github.com:team/app.git", "github.com/team/app"),
        ("ssh://git@host:2222/team/app/", "host/team/app"),
        ("git://host/app", "host/app"),
        ("file:///srv/app.git", ""),
        ("/srv/app.git", ""),
        ("../app", ""),
        ("", ""),
    ],
)
def test_remotes_are_normalised(url, project):
    assert normalised_remote(url) == project


def test_scope_is_the_remote_and_the_branch(checkout):
    found = find(str(checkout("https://u:secret@host/team/app.git")), {})
    assert (found.write, found.is_shared) == ("host/team/app@feature/x", True)
    assert found.reads == ("host/team/app@feature/x", "host/team/app@main", "host/team/app@master")
    assert "secret" not in repr(found)


def test_context_inside_a_repository_is_a_project_of_its_own(checkout):
    top = checkout("https://host/team/app.git", default="trunk")
    (top / "services/api").mkdir(parents=True)
    found = find(str(top / "services/api"), {})
    assert found.reads == ("host/team/app/services/api@feature/x", "host/team/app/services/api@trunk")


def test_detached_head_has_no_branch(checkout):
    assert find(str(checkout("https://host/app", head="0" * 40 + "\n")), {}).write == "host/app@detached"


def test_worktree_is_of_its_repository(checkout, tmp_path):
    top = checkout("https://host/app")
    (top / ".git/worktrees/w").mkdir(parents=True)
    (top / ".git/worktrees/w/HEAD").write_text("ref: refs/heads/side\n")
    (top / ".git/worktrees/w/commondir").write_text("../..\n")
    (top / "w").mkdir()
    (top / "w/.git").write_text(f"gitdir: {top}/.git/worktrees/w\n")
    assert find(str(top / "w"), {}).write == "host/app@side"


def test_directory_without_a_remote_stays_on_this_machine(tmp_path):
    found = find(str(tmp_path), {})
    assert not found.is_shared
    assert found.write == f"local/{tmp_path.name}"


def test_what_the_user_says_wins(checkout):
    found = find(str(checkout("https://host/app")), GITHUB, chosen="mine", fork_from=("theirs", "mine"))
    assert (found.write, found.reads) == ("mine", ("mine", "theirs"))


@pytest.mark.parametrize(
    ("environment", "write", "second"),
    [
        (GITHUB, "github.com/team/app@main", "github.com/team/app@master"),
        ({**GITHUB, "GITHUB_REF": "refs/pull/12/merge", "GITHUB_REF_NAME": "12/merge", "GITHUB_BASE_REF": "trunk"}, "github.com/team/app@pull/12",
         "github.com/team/app@trunk"),
        ({"GITLAB_CI": "true", "CI_SERVER_HOST": "gitlab.lan", "CI_PROJECT_PATH": "a/b/c", "CI_COMMIT_REF_NAME": "fix", "CI_DEFAULT_BRANCH": "dev"},
         "gitlab.lan/a/b/c@fix", "gitlab.lan/a/b/c@dev"),
        ({"JENKINS_URL": "x", "GIT_URL": "https://host/app.git", "BRANCH_NAME": "PR-3", "CHANGE_ID": "3", "CHANGE_FORK": "eve", "CHANGE_TARGET": "main"},
         "host/app@change/3/eve", "host/app@main"),
    ],
)  # fmt: skip
def test_ci_systems_name_project_branch_and_fork(tmp_path, environment, write, second):
    found = find(str(tmp_path), environment)
    assert (found.write, found.reads[1]) == (write, second)


def test_ci_names_the_branch_of_a_detached_checkout(checkout):
    context = str(checkout("https://host/team/app", head="0" * 40))
    assert find(context, {"JENKINS_URL": "x", "GIT_BRANCH": "origin/release"}).write == "host/team/app@release"


def test_git_url_names_its_project_and_branch():
    assert find("https://host/team/app.git#v2:sub", {}).write == "host/team/app/sub@v2"


PULL = {"number": 7, "pull_request": {"number": 7, "head": {"repo": {"full_name": "eve/app"}}, "base": {"ref": "main"}}}


def event(tmp_path, name: str, document: dict) -> dict[str, str]:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(document))
    return {**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(path)}


@pytest.mark.parametrize(
    ("name", "document", "write"),
    [
        ("pull_request_target", PULL, "pull/7"),
        ("pull_request_target", {}, "pull/of-"),
        ("pull_request_target", {"pull_request": []}, "pull/of-"),
        ("issue_comment", {"issue": {"number": 9, "pull_request": {}}}, "pull/9"),
        ("issue_comment", {"issue": {"number": 9}}, "main"),
        ("workflow_run", {"workflow_run": {"event": "pull_request", "head_branch": "main", "head_repository": {"full_name": "eve/app"}}}, "run/eve/app/main"),
        ("workflow_run", {"workflow_run": {"event": "push"}}, "main"),
        ("push", {"repository": {"default_branch": "trunk"}}, "main"),
    ],
)
def test_source_of_a_stranger_that_runs_under_main_s_name_has_a_scope_of_its_own(tmp_path, name, document, write):
    assert find(str(tmp_path), event(tmp_path, name, document)).write == f"github.com/team/app@{write}"


def test_pull_request_of_a_fork_says_whose_it_is_and_reads_its_target(tmp_path):
    found = find(str(tmp_path), event(tmp_path, "pull_request_target", PULL))
    assert "eve/app" in found.reason
    assert found.reads == ("github.com/team/app@pull/7", "github.com/team/app@main")


def test_default_branch_is_what_the_event_says(tmp_path):
    found = find(str(tmp_path), event(tmp_path, "push", {"repository": {"default_branch": "trunk"}}))
    assert found.reads == ("github.com/team/app@main", "github.com/team/app@trunk")


def test_merge_request_of_a_fork_reads_the_target_s_project(tmp_path):
    environment = {
        "GITLAB_CI": "true", "CI_SERVER_HOST": "gitlab.lan", "CI_PROJECT_PATH": "eve/app", "CI_MERGE_REQUEST_IID": "5", "CI_DEFAULT_BRANCH": "evil",
        "CI_MERGE_REQUEST_PROJECT_PATH": "team/app", "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "eve/app", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }  # fmt: skip
    found = find(str(tmp_path), environment)
    assert found.reads == ("gitlab.lan/eve/app@merge/5", "gitlab.lan/team/app@main")
    assert "eve/app" in found.reason


def test_context_inside_a_fork_reads_the_same_place_of_the_target(checkout):
    top = checkout("https://gitlab.lan/eve/app.git")
    (top / "api").mkdir()
    environment = {
        "GITLAB_CI": "true", "CI_SERVER_HOST": "gitlab.lan", "CI_PROJECT_PATH": "eve/app", "CI_MERGE_REQUEST_IID": "5",
        "CI_MERGE_REQUEST_PROJECT_PATH": "team/app", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }  # fmt: skip
    assert find(str(top / "api"), environment).reads == ("gitlab.lan/eve/app/api@merge/5", "gitlab.lan/team/app/api@main")


def test_job_of_one_project_does_not_name_the_branch_of_another_s_source(checkout):
    found = find(str(checkout("https://github.com/eve/tool.git")), GITHUB)
    assert found.write == "github.com/eve/tool@feature/x"
