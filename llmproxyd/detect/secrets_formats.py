"""Vendors' keys as data: name, the literal a key begins with (or holds), the pattern of the whole key.

Patterns are RE2's language without look-around. A last column ``WEAK`` marks forms that words and identifiers may take
as well; what matches there must also look random. Lengths are ranges where vendors have changed theirs or do not promise
any. Source: the vendors' own descriptions, and the prefixes they register with code hosts for secret scanning.
"""

from __future__ import annotations

import re

import msgspec


class Format(msgspec.Struct, frozen=True):
    """name: the kind without its ``secret.``. prefix: the literal that begins every key, or nothing.
    mark: a short pattern without which ``pattern`` cannot match."""

    name: str
    prefix: str
    mark: str
    pattern: str
    weak: bool = False


WEAK = True
_W = "[A-Za-z0-9]"
_U = "[A-Za-z0-9_-]"
_H = "[0-9a-fA-F]"
_L = "[a-z0-9]"
_P = "[A-Z0-9]"
_B = "[A-Za-z0-9+/]"
_UUID = f"{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}"

# name, literal beginning, what follows it
_BEGINNING: tuple[tuple[str, str, str] | tuple[str, str, str, bool], ...] = (
    # clouds and hosting
    ("aws_access_key", "AKIA", f"{_P}{{16}}"),
    ("aws_temporary_key", "ASIA", f"{_P}{{16}}"),
    ("aws_bearer_token", "ABIA", f"{_P}{{16}}"),
    ("aws_context_key", "ACCA", f"{_P}{{16}}"),
    ("aws_bedrock_key", "ABSK", f"{_B}{{100,280}}={{0,2}}"),
    ("aws_bedrock_short_key", "bedrock-api-key-", "[A-Za-z0-9+/=_-]{60,1000}"),
    ("google_api_key", "AIza", f"{_U}{{35}}"),
    ("google_oauth_secret", "GOCSPX-", f"{_U}{{24,40}}"),
    ("google_access_token", "ya29.", f"{_U}{{20,1000}}"),
    ("google_refresh_token", "1//0", f"{_U}{{30,250}}", WEAK),
    ("azure_storage_key", "AccountKey=", f"{_B}{{86}}=="),
    ("azure_shared_access_key", "SharedAccessKey=", f"{_B}{{42,43}}="),
    ("alibaba_access_key", "LTAI", f"{_W}{{12,30}}", WEAK),
    ("tencent_secret_id", "AKID", f"{_W}{{28,36}}", WEAK),
    ("yandex_api_key", "AQVN", f"{_U}{{30,50}}", WEAK),
    ("yandex_iam_token", "t1.", f"{_U}{{20,400}}\\.{_U}{{86}}"),
    ("digitalocean_token", "dop_v1_", f"{_H}{{64}}"),
    ("digitalocean_oauth_token", "doo_v1_", f"{_H}{{64}}"),
    ("digitalocean_refresh_token", "dor_v1_", f"{_H}{{64}}"),
    ("heroku_api_key", "HRKU-", f"{_U}{{36,70}}"),
    ("fly_token", "fo1_", f"{_U}{{43}}"),
    ("fly_macaroon", "fm1", f"[ar]_{_B}{{80,1000}}={{0,2}}"),
    ("fly_macaroon", "fm2_", f"{_B}{{80,1000}}={{0,2}}"),
    ("render_api_key", "rnd_", f"{_W}{{28,40}}", WEAK),
    ("netlify_token", "nfp_", f"{_W}{{36,40}}"),
    ("vercel_blob_token", "vercel_blob_rw_", f"{_W}{{10,24}}_{_W}{{24,48}}"),
    ("vercel_token", "vcp_", f"{_W}{{24,60}}", WEAK),
    ("scalingo_token", "tk-us-", f"{_U}{{48}}"),
    ("cloudflare_origin_key", "v1.0-", f"{_H}{{24}}-{_H}{{146}}"),
    ("cloudflare_token", "cfut_", f"{_W}{{40,60}}"),
    ("cloudflare_account_token", "cfat_", f"{_W}{{40,60}}"),
    ("openshift_token", "sha256~", f"{_U}{{43}}"),
    # models
    ("openai_project_key", "sk-proj-", f"{_U}{{40,220}}"),
    ("openai_service_key", "sk-svcacct-", f"{_U}{{40,220}}"),
    ("openai_service_key", "sk-service-", f"{_U}{{40,220}}", WEAK),
    ("openai_admin_key", "sk-admin-", f"{_U}{{40,220}}"),
    ("openai_style_key", "sk-", f"{_W}{{32,64}}", WEAK),
    ("anthropic_key", "sk-ant-", f"[a-z]{{2,8}}[0-9]{{2}}-{_U}{{24,140}}"),
    ("openrouter_key", "sk-or-v1-", f"{_H}{{48,64}}"),
    ("langfuse_key", "sk-lf-", _UUID),
    ("helicone_key", "sk-helicone-", f"{_L}{{7}}(?:-{_L}{{7}}){{3}}"),
    ("groq_key", "gsk_", f"{_W}{{48,60}}"),
    ("xai_key", "xai-", f"{_W}{{60,100}}"),
    ("perplexity_key", "pplx-", f"{_W}{{40,64}}"),
    ("huggingface_token", "hf_", f"{_W}{{30,40}}"),
    ("huggingface_org_token", "api_org_", f"{_W}{{30,40}}"),
    ("replicate_token", "r8_", f"{_W}{{37,40}}"),
    ("cerebras_key", "csk-", f"{_L}{{40,60}}"),
    ("fireworks_key", "fw_", f"{_W}{{22,32}}", WEAK),
    ("nvidia_key", "nvapi-", f"{_U}{{50,80}}"),
    ("together_key", "tgp_v1_", f"{_U}{{40,60}}"),
    ("voyage_key", "pa-", f"{_U}{{43}}", WEAK),
    ("jina_key", "jina_", f"{_W}{{50,70}}"),
    ("tavily_key", "tvly-", f"(?:dev-|prod-)?{_W}{{24,50}}", WEAK),
    ("firecrawl_key", "fc-", f"{_H}{{32}}", WEAK),
    ("langsmith_token", "lsv2_", f"(?:pt|sk)_{_H}{{32}}_{_H}{{10}}"),
    ("langsmith_old_key", "ls__", f"{_H}{{32}}"),
    ("pinecone_key", "pcsk_", f"{_W}{{5,6}}_{_W}{{60,66}}"),
    ("elevenlabs_key", "sk_", f"{_H}{{48}}"),
    ("llamacloud_key", "llx-", f"{_W}{{40,60}}"),
    ("e2b_key", "e2b_", f"{_H}{{40}}"),
    ("apify_token", "apify_api_", f"{_W}{{34,40}}"),
    ("logfire_token", "pylf_v", f"[0-9]_[a-z]{{2}}_{_W}{{40,50}}"),
    ("wandb_key", "wandb_v1_", f"{_U}{{40,100}}"),
    ("browserbase_key", "bb_live_", f"{_U}{{24,40}}", WEAK),
    ("friendli_key", "flp_", f"{_W}{{40,60}}"),
    ("zuplo_key", "zpka_", f"{_L}{{32}}_{_L}{{8}}"),
    # code and packages
    ("github_token", "ghp_", f"{_W}{{36,251}}"),
    ("github_oauth_token", "gho_", f"{_W}{{36,251}}"),
    ("github_user_token", "ghu_", f"{_W}{{36,251}}"),
    ("github_server_token", "ghs_", f"{_W}{{36,251}}"),
    ("github_refresh_token", "ghr_", f"{_W}{{36,251}}"),
    ("github_fine_grained_token", "github_pat_", "[A-Za-z0-9_]{50,255}"),
    ("gitlab_token", "glpat-", "[A-Za-z0-9_.-]{20,300}"),
    ("gitlab_deploy_token", "gldt-", f"{_U}{{20,64}}"),
    ("gitlab_runner_token", "glrt-", "[A-Za-z0-9_.-]{20,300}"),
    ("gitlab_runner_token", "glrtr-", "[A-Za-z0-9_.-]{20,300}"),
    ("gitlab_trigger_token", "glptt-", f"{_U}{{20,64}}"),
    ("gitlab_feed_token", "glft-", f"{_U}{{20,64}}"),
    ("gitlab_flag_token", "glffct-", f"{_U}{{20,64}}"),
    ("gitlab_scim_token", "glsoat-", f"{_U}{{20,64}}"),
    ("gitlab_mail_token", "glimt-", f"{_U}{{20,64}}"),
    ("gitlab_agent_token", "glagent-", f"{_U}{{50,64}}"),
    ("gitlab_oauth_secret", "gloas-", f"{_U}{{64}}"),
    ("gitlab_job_token", "glcbt-", f"{_U}{{20,300}}"),
    ("gitlab_registration_token", "GR1348941", f"{_U}{{20}}"),
    ("gitlab_session", "_gitlab_session=", f"{_H}{{32}}"),
    ("bitbucket_app_password", "ATBB", f"{_W}{{32}}", WEAK),
    ("bitbucket_access_token", "ATCTT3xFfGN0", "[A-Za-z0-9_=-]{100,250}"),
    ("atlassian_token", "ATATT3", "[A-Za-z0-9_=-]{100,250}"),
    ("npm_token", "npm_", f"{_W}{{36,40}}", WEAK),
    ("pypi_token", "pypi-AgE", f"{_U}{{50,1000}}"),
    ("rubygems_key", "rubygems_", f"{_H}{{48}}"),
    ("crates_token", "cio", f"{_W}{{32}}", WEAK),
    ("nuget_key", "oy2", f"{_L}{{43}}"),
    ("clojars_token", "CLOJARS_", f"{_L}{{60}}"),
    ("docker_token", "dckr_pat_", f"{_U}{{24,40}}"),
    ("docker_org_token", "dckr_oat_", f"{_U}{{24,40}}"),
    ("jfrog_key", "AKCp", f"{_W}{{60,75}}", WEAK),
    ("jfrog_reference_token", "cmVmdGtuOj", f"{_W}{{50,60}}"),
    ("sonar_token", "sqp_", f"{_H}{{40}}"),
    ("sonar_user_token", "squ_", f"{_H}{{40}}"),
    ("sonar_global_token", "sqa_", f"{_H}{{40}}"),
    ("buildkite_token", "bkua_", f"{_H}{{40}}"),
    ("circleci_token", "CCIPAT_", f"{_W}{{18,26}}_{_H}{{40}}"),
    ("sourcegraph_token", "sgp_", f"(?:(?:{_H}{{16}}|local)_)?{_H}{{40}}"),
    ("postman_key", "PMAK-", f"{_H}{{24}}-{_H}{{34}}"),
    ("harness_token", "pat.", f"{_U}{{22}}\\.{_H}{{24}}\\.{_W}{{20}}"),
    ("harness_service_token", "sat.", f"{_U}{{22}}\\.{_H}{{24}}\\.{_W}{{20}}"),
    ("readme_key", "rdme_", f"{_L}{{70}}"),
    ("snyk_token", "snyk_uat.", f"{_H}{{8}}\\.[A-Za-z0-9_.-]{{40,400}}"),
    # infrastructure
    ("vault_service_token", "hvs.", f"{_U}{{24,300}}"),
    ("vault_batch_token", "hvb.", f"{_U}{{80,400}}"),
    ("doppler_token", "dp.", f"(?:pt|ct|sa|said|scim|audit)\\.{_W}{{40,44}}"),
    ("doppler_service_token", "dp.st.", f"(?:[a-z0-9_-]{{1,35}}\\.)?{_W}{{40,44}}"),
    ("pulumi_token", "pul-", f"{_H}{{40}}"),
    ("infracost_key", "ico-", f"{_W}{{32}}", WEAK),
    ("tailscale_key", "tskey-", f"(?:[a-z]{{2,10}}-)?{_W}{{10,24}}-{_W}{{20,40}}"),
    ("age_secret_key", "AGE-SECRET-KEY-1", "[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    ("planetscale_token", "pscale_tkn_", "[A-Za-z0-9_.=-]{32,64}"),
    ("planetscale_password", "pscale_pw_", "[A-Za-z0-9_.=-]{32,64}"),
    ("planetscale_oauth_token", "pscale_oauth_", "[A-Za-z0-9_.=-]{32,64}"),
    ("supabase_token", "sbp_", f"(?:v0_|oauth_)?{_H}{{40}}"),
    ("supabase_secret_key", "sb_secret_", f"{_U}{{22}}_{_U}{{8}}"),
    ("neon_key", "napi_", f"{_L}{{40,80}}"),
    ("databricks_token", "dapi", f"{_H}{{32}}(?:-[0-9])?"),
    ("aiven_password", "AVNS_", f"{_U}{{19}}"),
    ("prefect_key", "pnu_", f"{_W}{{36}}"),
    ("prefect_service_key", "pnb_", f"{_W}{{36}}"),
    ("defined_key", "dnkey-", f"{_W}{{26}}-{_W}{{52}}"),
    ("inngest_key", "signkey-", f"[a-z]{{3,8}}-{_H}{{32,64}}"),
    (
        "onepassword_secret_key",
        "A3-",
        f"{_P}{{6}}-(?:{_P}{{11}}|{_P}{{6}}-{_P}{{5}})-{_P}{{5}}-{_P}{{5}}-{_P}{{5}}",
    ),
    ("onepassword_service_token", "ops_eyJ", "[A-Za-z0-9+/_=-]{200,1000}"),
    ("confluent_key", "cflt", f"{_B}{{58,64}}", WEAK),
    # watching
    ("grafana_service_token", "glsa_", f"{_W}{{32}}_{_H}{{8}}"),
    ("grafana_cloud_token", "glc_", f"{_B}{{32,400}}={{0,2}}"),
    ("grafana_key", "eyJrIjoi", f"{_W}{{70,400}}={{0,2}}"),
    ("newrelic_user_key", "NRAK-", f"{_P}{{27}}"),
    ("newrelic_browser_key", "NRJS-", f"{_H}{{19}}"),
    ("newrelic_insert_key", "NRII-", f"{_U}{{32}}"),
    ("newrelic_query_key", "NRIQ-", f"{_U}{{32}}"),
    ("dynatrace_token", "dt0", f"[a-z][0-9]{{2}}\\.{_P}{{8,24}}\\.{_P}{{64}}"),
    ("sentry_user_token", "sntryu_", f"{_H}{{64}}"),
    ("sentry_org_token", "sntrys_eyJ", "[A-Za-z0-9+/=_-]{80,500}"),
    ("honeycomb_key", "hca", f"[a-z]{{2}}_{_L}{{58}}"),
    ("honeycomb_ingest_key", "hcx", f"[a-z]{{2}}_{_L}{{58}}"),
    ("posthog_personal_key", "phx_", f"{_W}{{40,60}}"),
    ("launchdarkly_key", "sdk-", _UUID),
    ("launchdarkly_token", "api-", _UUID),
    # messages
    ("slack_token", "xoxb-", f"{_U}{{20,200}}"),
    ("slack_user_token", "xoxp-", f"{_U}{{20,200}}"),
    ("slack_app_token", "xapp-", f"[0-9]-{_U}{{40,200}}"),
    ("slack_legacy_token", "xoxa-", f"{_U}{{20,200}}"),
    ("slack_refresh_token", "xoxr-", f"{_U}{{20,200}}"),
    ("slack_workspace_token", "xoxs-", f"{_U}{{20,200}}"),
    ("slack_cookie_token", "xoxc-", f"{_U}{{20,200}}"),
    ("slack_cookie", "xoxd-", "[A-Za-z0-9%+/=_-]{20,400}"),
    ("slack_rotating_token", "xoxe", f"(?:\\.xox[bp])?-[0-9]-{_U}{{40,250}}"),
    (
        "slack_webhook",
        "hooks.slack.com/",
        f"(?:services|workflows|triggers)/{_W}{{6,14}}/{_W}{{6,20}}/{_W}{{16,60}}",
    ),
    ("discord_webhook", "discord.com/api/webhooks/", f"[0-9]{{17,20}}/{_U}{{60,80}}"),
    ("discord_webhook", "discordapp.com/api/webhooks/", f"[0-9]{{17,20}}/{_U}{{60,80}}"),
    ("twilio_key", "SK", "[0-9a-f]{32}", WEAK),
    ("sendgrid_key", "SG.", f"{_U}{{20,24}}\\.{_U}{{39,50}}"),
    ("mailgun_key", "key-", f"{_H}{{32}}", WEAK),
    ("brevo_key", "xkeysib-", f"{_H}{{64}}-{_W}{{16}}"),
    ("brevo_smtp_key", "xsmtpsib-", f"{_H}{{64}}-{_W}{{16}}"),
    ("resend_key", "re_", f"{_W}{{8}}_{_W}{{20,30}}", WEAK),
    ("mailersend_token", "mlsn.", f"{_H}{{64}}"),
    ("zapier_webhook", "hooks.zapier.com/hooks/catch/", f"[0-9]{{5,10}}/{_W}{{5,12}}"),
    ("messagebird_key", "AccessKey ", f"{_W}{{25}}", WEAK),
    # money and parcels
    ("stripe_key", "sk_live_", f"{_W}{{16,247}}"),
    ("stripe_test_key", "sk_test_", f"{_W}{{16,247}}"),
    ("stripe_restricted_key", "rk_live_", f"{_W}{{16,247}}"),
    ("stripe_restricted_test_key", "rk_test_", f"{_W}{{16,247}}"),
    ("stripe_production_key", "sk_prod_", f"{_W}{{16,247}}"),
    ("webhook_signing_secret", "whsec_", "[A-Za-z0-9+/=]{24,80}"),
    ("square_access_token", "sq0atp-", f"{_U}{{22}}"),
    ("square_secret", "sq0csp-", f"{_U}{{43}}"),
    ("square_token", "EAAA", f"{_U}{{60}}", WEAK),
    ("braintree_token", "access_token$production$", f"{_L}{{16}}\\$?{_H}{{32}}"),
    ("shopify_token", "shpat_", f"{_H}{{32}}"),
    ("shopify_custom_token", "shpca_", f"{_H}{{32}}"),
    ("shopify_private_token", "shppa_", f"{_H}{{32}}"),
    ("shopify_secret", "shpss_", f"{_H}{{32}}"),
    ("razorpay_key", "rzp_live_", f"{_W}{{14,30}}"),
    ("razorpay_test_key", "rzp_test_", f"{_W}{{14,30}}"),
    ("plaid_token", "access-", f"(?:production|development|sandbox)-{_UUID}"),
    ("flutterwave_key", "FLWSECK", f"(?:_TEST)?-{_H}{{12,32}}(?:-X)?"),
    ("duffel_token", "duffel_", f"(?:live|test)_{_U}{{43}}"),
    ("easypost_key", "EZAK", f"{_W}{{54}}"),
    ("easypost_test_key", "EZTK", f"{_W}{{54}}"),
    ("shippo_token", "shippo_", f"(?:live|test)_{_H}{{40}}"),
    ("mercadopago_token", "APP_USR-", f"[0-9]{{12,20}}-[0-9]{{6}}-{_H}{{32}}-[0-9]{{6,12}}"),
    ("gocardless_token", "live_", f"{_U}{{40}}", WEAK),
    ("lob_key", "live_", f"{_H}{{35}}", WEAK),
    ("xendit_key", "xnd_production_", f"{_W}{{40,80}}"),
    ("cashfree_key", "cfsk_ma_", f"[a-z]{{4}}_{_H}{{32}}_{_H}{{8}}"),
    # work
    ("linear_key", "lin_api_", f"{_W}{{40}}"),
    ("linear_oauth_token", "lin_oauth_", f"{_H}{{64}}"),
    ("notion_token", "ntn_", f"{_W}{{43,51}}", WEAK),
    ("notion_secret", "secret_", f"{_W}{{43}}", WEAK),
    ("clickup_token", "pk_", f"[0-9]{{6,9}}_{_P}{{32}}"),
    ("figma_token", "figd_", f"{_U}{{36,60}}"),
    ("dropbox_token", "sl.", f"{_U}{{100,1000}}"),
    ("hubspot_token", "pat-", f"(?:na|eu)[0-9]-{_UUID}"),
    ("typeform_token", "tfp_", f"{_U}{{40,70}}"),
    ("contentful_token", "CFPAT-", f"{_U}{{43}}"),
    ("frameio_token", "fio-u-", f"{_U}{{64}}"),
    ("cal_key", "cal_live_", f"{_H}{{32}}"),
    ("facebook_token", "EAA", "[A-Za-z0-9]{90,400}", WEAK),
    ("instagram_token", "IGQ", f"{_U}{{100,400}}", WEAK),
    ("twitter_bearer_token", "AAAAAAAAAAAAAAAAAAAAA", "[A-Za-z0-9%=+/]{50,150}"),
    ("mapbox_secret_token", "sk.eyJ", f"{_U}{{40,200}}\\.{_U}{{20,30}}"),
    ("cloudinary_url", "cloudinary://", f"[0-9]{{12,18}}:{_U}{{20,40}}@{_U}{{2,64}}"),
    ("settlemint_token", "sm_", f"(?:pat|aat|sat)_{_W}{{16}}"),
    ("adobe_secret", "p8e-", f"{_W}{{32}}", WEAK),
    ("intercom_token", "dG9rO", f"{_B}{{40,60}}={{0,2}}", WEAK),
    ("ramp_token", "ramp_", f"(?:tok|sec)_{_W}{{24,60}}"),
    ("val_town_token", "vtwn_", f"{_W}{{24,48}}"),
    ("trigger_key", "tr_", f"(?:dev|prod|stg)_{_W}{{20,32}}", WEAK),
    ("unkey_root_key", "unkey_", f"{_W}{{20,40}}", WEAK),
)

# name, a sign inside the key (a pattern, without counts), the whole pattern
_INSIDE: tuple[tuple[str, str, str], ...] = (
    ("openai_key", "T3BlbkFJ", f"sk-{_U}{{16,150}}T3BlbkFJ{_U}{{16,150}}"),
    ("azure_client_secret", "[0-9]Q~", "[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),
    ("azure_devops_token", "AZDO", f"{_W}{{76}}AZDO{_W}{{4}}"),
    ("azure_cognitive_key", "AAAC", f"{_W}{{52}}JQQJ9[A-D]AC[A-Za-z0-9]{{2,12}}AAA(?:AAAC|BAC)[A-Za-z0-9]{{8}}"),
    ("terraform_token", "[.]atlasv1[.]", f"{_W}{{14}}\\.atlasv1\\.[A-Za-z0-9_=-]{{60,70}}"),
    ("airtable_token", "pat[A-Za-z0-9]+[.][0-9a-f]", f"pat{_W}{{14}}\\.{_H}{{64}}"),
    ("telegram_bot_token", "[0-9]:AA", f"[0-9]{{7,10}}:AA{_U}{{32,34}}"),
    ("mailchimp_key", "[0-9a-f]-us[0-9]", f"{_H}{{32}}-us[0-9]{{1,2}}"),
    ("rapidapi_key", "jsn", f"{_H}{{10}}msh{_H}{{15}}p1{_H}{{5}}jsn{_H}{{12}}"),
    ("teams_webhook", "[.]webhook[.]office[.]com/", f"{_U}{{1,63}}\\.webhook\\.office\\.com/webhookb2/[A-Za-z0-9@/-]{{60,260}}"),
    ("power_automate_webhook", "sig=", f"\\.logic\\.azure\\.com[^\\s\"']{{1,300}}sig={_U}{{40,50}}"),
    ("azure_sas_signature", "sig=", "[?&]sig=[A-Za-z0-9%+/]{43,60}(?:%3[dD]|=)"),
    ("aws_presigned_signature", "X-Amz-Signature=", "X-Amz-Signature=[0-9a-f]{64}"),
    ("http_basic_authorization", "uthorization", "[Aa]uthorization[\"']?[:=] ?[\"']?Basic [A-Za-z0-9+/]{12,400}={0,2}"),
    ("asana_token", "[12]/[0-9]+[/:][0-9a-f]", "[12]/[0-9]{16}(?:/[0-9]{16})?:[0-9a-f]{32}"),
)  # fmt: skip


def _beginning(name: str, prefix: str, rest: str, weak: bool = False) -> Format:
    return Format(name, prefix, re.escape(prefix), re.escape(prefix) + rest, weak)


def _formats() -> tuple[Format, ...]:
    rows = [_beginning(*row) for row in _BEGINNING]
    rows += [Format(name, "", mark, pattern) for name, mark, pattern in _INSIDE]
    return tuple(rows)


FORMATS: tuple[Format, ...] = _formats()
