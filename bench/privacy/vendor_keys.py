"""Keys as their vendors describe them: prefix, alphabet, length. One row a format, written as a template.

``{alphabet*n}`` stands for n random characters of the alphabet, ``{alphabet*m-n}`` for m to n of them. A row of
``NAMED`` has no mark of its own; vendors' documents show it behind a variable name, and so do the samples.
"""

import base64
import json
import re
import uuid
import zlib
from random import Random

from bench.privacy.digits import BASE62

ALPHABETS = {
    "num": "0123456789",
    "hex": "0123456789abcdef",
    "low": "abcdefghijklmnopqrstuvwxyz0123456789",
    "up": "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "b32": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "alpha": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "b62": BASE62,
    "b64": BASE62 + "+/",
    "url": BASE62 + "-_",
    "bech": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}

MARKED: dict[str, str] = {
    # clouds
    "aws_access_key": "AKIA{b32*16}",
    "aws_session_key": "ASIA{b32*16}",
    "aws_bedrock_key": "ABSK{b64*110-130}",
    "google_api_key": "AIza{url*35}",
    "google_client_secret": "GOCSPX-{url*28}",
    "google_access_token": "ya29.{url*100-160}",
    "google_refresh_token": "1//0{num*1}{url*60-90}",
    "azure_client_secret": "{b62*3}8Q~{b62*34}",
    "azure_storage_key": "AccountKey={b64*86}==",
    "azure_devops_pat": "{b62*76}AZDO{b62*4}",
    "alibaba_access_key": "LTAI{b62*20}",
    "tencent_secret_id": "AKID{b62*32}",
    "yandex_api_key": "AQVN{url*36}",
    "digitalocean_pat": "dop_v1_{hex*64}",
    "digitalocean_oauth": "doo_v1_{hex*64}",
    "digitalocean_refresh": "dor_v1_{hex*64}",
    "heroku_key": "HRKU-AA{url*58}",
    "fly_token": "fo1_{url*43}",
    "fly_macaroon": "fm2_{b64*120-200}",
    "render_key": "rnd_{b62*32}",
    "netlify_pat": "nfp_{b62*36}",
    "vercel_blob": "vercel_blob_rw_{b62*16}_{b62*30}",
    "scalingo_token": "tk-us-{url*48}",
    "cloudflare_origin_ca": "v1.0-{hex*24}-{hex*146}",
    "openshift_token": "sha256~{url*43}",
    # models
    "openai_legacy": "sk-{b62*20}T3BlbkFJ{b62*20}",
    "openai_project": "sk-proj-{url*74}T3BlbkFJ{url*74}",
    "openai_service": "sk-svcacct-{url*74}T3BlbkFJ{url*74}",
    "openai_admin": "sk-admin-{url*58}T3BlbkFJ{url*58}",
    "anthropic_api": "sk-ant-api03-{url*93}AA",
    "anthropic_admin": "sk-ant-admin01-{url*93}AA",
    "anthropic_oauth": "sk-ant-oat01-{url*93}AA",
    "groq_key": "gsk_{b62*52}",
    "xai_key": "xai-{b62*80}",
    "perplexity_key": "pplx-{b62*48}",
    "huggingface_token": "hf_{alpha*34}",
    "huggingface_org": "api_org_{alpha*34}",
    "replicate_token": "r8_{b62*37}",
    "openrouter_key": "sk-or-v1-{hex*64}",
    "cerebras_key": "csk-{low*48}",
    "fireworks_key": "fw_{b62*24}",
    "nvidia_key": "nvapi-{url*64}",
    "together_key": "tgp_v1_{url*43}",
    "voyage_key": "pa-{url*43}",
    "jina_key": "jina_{b62*60}",
    "tavily_key": "tvly-{b62*32}",
    "firecrawl_key": "fc-{hex*32}",
    "langsmith_pat": "lsv2_pt_{hex*32}_{hex*10}",
    "langsmith_service": "lsv2_sk_{hex*32}_{hex*10}",
    "pinecone_key": "pcsk_{b62*5}_{b62*63}",
    "deepseek_key": "sk-{hex*32}",
    "moonshot_key": "sk-{b62*48}",
    "elevenlabs_key": "sk_{hex*48}",
    "llamacloud_key": "llx-{b62*48}",
    "langfuse_key": "sk-lf-{uuid}",
    "e2b_key": "e2b_{hex*40}",
    "apify_token": "apify_api_{b62*36}",
    "logfire_token": "pylf_v1_us_{b62*43}",
    # code
    "github_pat": "ghp_{crc62}",
    "github_oauth": "gho_{crc62}",
    "github_user": "ghu_{crc62}",
    "github_server": "ghs_{crc62}",
    "github_refresh": "ghr_{b62*76}",
    "github_fine_grained": "github_pat_{b62*22}_{b62*59}",
    "gitlab_pat": "glpat-{url*20}",
    "gitlab_deploy": "gldt-{url*20}",
    "gitlab_runner": "glrt-{url*20}",
    "gitlab_trigger": "glptt-{hex*40}",
    "gitlab_feed": "glft-{url*20}",
    "gitlab_scim": "glsoat-{url*20}",
    "gitlab_mail": "glimt-{low*25}",
    "gitlab_agent": "glagent-{url*50}",
    "gitlab_oauth": "gloas-{hex*64}",
    "gitlab_job": "glcbt-{hex*2}_{url*20}",
    "gitlab_registration": "GR1348941{url*20}",
    "bitbucket_app": "ATBB{b62*32}",
    "atlassian_token": "ATATT3xFfGF0{url*170-180}={up*8}",
    "npm_token": "npm_{crc62}",
    "pypi_token": "pypi-AgEIcHlwaS5vcmc{url*120-160}",
    "rubygems_key": "rubygems_{hex*48}",
    "crates_token": "cio{b62*32}",
    "nuget_key": "oy2{low*43}",
    "clojars_token": "CLOJARS_{hex*60}",
    "docker_pat": "dckr_pat_{url*27}",
    "docker_org": "dckr_oat_{url*32}",
    "jfrog_key": "AKCp{b62*69}",
    "jfrog_reference": "cmVmdGtuOj{b62*54}",
    "sonar_project": "sqp_{hex*40}",
    "sonar_user": "squ_{hex*40}",
    "sonar_global": "sqa_{hex*40}",
    "buildkite_token": "bkua_{hex*40}",
    "circleci_pat": "CCIPAT_{b62*22}_{hex*40}",
    "sourcegraph_token": "sgp_{hex*40}",
    "postman_key": "PMAK-{hex*24}-{hex*34}",
    "harness_pat": "pat.{url*22}.{hex*24}.{b62*20}",
    "readme_key": "rdme_{low*70}",
    # infrastructure
    "terraform_token": "{b62*14}.atlasv1.{url*67}",
    "vault_service": "hvs.{url*90-110}",
    "vault_batch": "hvb.{url*140-200}",
    "doppler_pat": "dp.pt.{b62*43}",
    "doppler_service": "dp.st.prd.{b62*43}",
    "pulumi_token": "pul-{hex*40}",
    "infracost_key": "ico-{b62*32}",
    "tailscale_auth": "tskey-auth-{b62*17}-{b62*32}",
    "tailscale_api": "tskey-api-{b62*17}-{b62*32}",
    "age_key": "AGE-SECRET-KEY-1{bech*58}",
    "planetscale_token": "pscale_tkn_{url*43}",
    "planetscale_password": "pscale_pw_{url*43}",
    "planetscale_oauth": "pscale_oauth_{url*43}",
    "supabase_token": "sbp_{hex*40}",
    "supabase_secret": "sb_secret_{url*22}_{url*8}",
    "neon_key": "napi_{low*64}",
    "databricks_token": "dapi{hex*32}",
    "aiven_password": "AVNS_{url*19}",
    "prefect_key": "pnu_{b62*36}",
    "defined_key": "dnkey-{b32*26}-{b32*52}",
    "inngest_key": "signkey-prod-{hex*64}",
    "onepassword_secret": "A3-{up*6}-{up*11}-{up*5}-{up*5}-{up*5}",
    "onepassword_service": "ops_eyJ{url*280-320}",
    # watching
    "grafana_service": "glsa_{b62*32}_{hex*8}",
    "grafana_cloud": "glc_eyJ{b64*100-140}",
    "newrelic_user": "NRAK-{up*27}",
    "newrelic_browser": "NRJS-{hex*19}",
    "newrelic_insights": "NRII-{url*32}",
    "dynatrace_token": "dt0c01.{b32*24}.{b32*64}",
    "sentry_user": "sntryu_{hex*64}",
    "sentry_org": "sntrys_eyJ{b64*120-160}_{b64*43}",
    "honeycomb_key": "hcaik_{low*58}",
    "posthog_personal": "phx_{b62*43}",
    "launchdarkly_sdk": "sdk-{uuid}",
    # messages
    "slack_bot": "xoxb-{num*12}-{num*13}-{b62*24}",
    "slack_user": "xoxp-{num*12}-{num*12}-{num*13}-{hex*32}",
    "slack_app": "xapp-1-A{up*10}-{num*13}-{hex*64}",
    "slack_refresh": "xoxe-1-{b62*146}",
    "slack_webhook": "https://hooks.slack.com/services/T{up*9}/B{up*10}/{b62*24}",
    "discord_bot": "M{b62*23}.{url*6}.{url*38}",
    "discord_webhook": "https://discord.com/api/webhooks/{num*18}/{url*68}",
    "telegram_bot": "{num*10}:AA{url*33}",
    "twilio_key": "SK{hex*32}",
    "sendgrid_key": "SG.{url*22}.{url*43}",
    "mailgun_key": "key-{hex*32}",
    "mailchimp_key": "{hex*32}-us{num*2}",
    "brevo_key": "xkeysib-{hex*64}-{b62*16}",
    "brevo_smtp": "xsmtpsib-{hex*64}-{b62*16}",
    "resend_key": "re_{b62*8}_{b62*24}",
    "mailersend_token": "mlsn.{hex*64}",
    "teams_webhook": "https://contoso.webhook.office.com/webhookb2/{uuid}@{uuid}/IncomingWebhook/{hex*32}/{uuid}",
    "zapier_webhook": "https://hooks.zapier.com/hooks/catch/{num*8}/{low*7}/",
    # money
    "stripe_live": "sk_live_{b62*24-99}",
    "stripe_test": "sk_test_{b62*24-99}",
    "stripe_restricted": "rk_live_{b62*24-99}",
    "stripe_webhook": "whsec_{b62*32}",
    "square_access": "sq0atp-{url*22}",
    "square_secret": "sq0csp-{url*43}",
    "square_token": "EAAA{url*60}",
    "braintree_token": "access_token$production${low*16}${hex*32}",
    "shopify_admin": "shpat_{hex*32}",
    "shopify_custom": "shpca_{hex*32}",
    "shopify_private": "shppa_{hex*32}",
    "shopify_secret": "shpss_{hex*32}",
    "razorpay_key": "rzp_live_{b62*14}",
    "plaid_access": "access-production-{uuid}",
    "flutterwave_secret": "FLWSECK-{hex*32}-X",
    "duffel_token": "duffel_live_{url*43}",
    "easypost_key": "EZAK{b62*54}",
    "easypost_test": "EZTK{b62*54}",
    "shippo_token": "shippo_live_{hex*40}",
    "mercadopago_token": "APP_USR-{num*16}-{num*6}-{hex*32}-{num*9}",
    # work
    "linear_key": "lin_api_{b62*40}",
    "linear_oauth": "lin_oauth_{hex*64}",
    "notion_token": "ntn_{num*11}{b62*35}",
    "notion_secret": "secret_{b62*43}",
    "airtable_pat": "pat{b62*14}.{hex*64}",
    "clickup_token": "pk_{num*8}_{up*32}",
    "figma_pat": "figd_{url*40}",
    "dropbox_token": "sl.{url*130-150}",
    "hubspot_token": "pat-na1-{uuid}",
    "typeform_token": "tfp_{url*59}",
    "contentful_token": "CFPAT-{url*43}",
    "frameio_token": "fio-u-{url*64}",
    "cal_key": "cal_live_{hex*32}",
    "rapidapi_key": "{hex*10}msh{hex*15}p1{hex*5}jsn{hex*12}",
    "facebook_token": "EAA{b62*160-200}",
    "twitter_bearer": "AAAAAAAAAAAAAAAAAAAAA{b62*20}%3D{b62*50}",
    "mapbox_secret": "sk.eyJ{b62*70-80}.{url*22}",
    "cloudinary_url": "cloudinary://{num*15}:{url*27}@demo-cloud",
}

NAMED: dict[str, tuple[str, str]] = {
    "aws_secret_key": ("aws_secret_access_key", "{b64*40}"),
    "datadog_key": ("DD_API_KEY", "{hex*32}"),
    "datadog_app": ("DATADOG_APP_KEY", "{hex*40}"),
    "cloudflare_token": ("CLOUDFLARE_API_TOKEN", "{url*40}"),
    "fastly_token": ("FASTLY_API_TOKEN", "{url*32}"),
    "mistral_key": ("MISTRAL_API_KEY", "{b62*32}"),
    "cohere_key": ("COHERE_API_KEY", "{b62*40}"),
    "deepgram_key": ("DEEPGRAM_API_KEY", "{hex*40}"),
    "assemblyai_key": ("ASSEMBLYAI_API_KEY", "{hex*32}"),
    "wandb_key": ("WANDB_API_KEY", "{hex*40}"),
    "azure_openai_key": ("AZURE_OPENAI_API_KEY", "{hex*32}"),
    "pagerduty_key": ("PAGERDUTY_TOKEN", "{b62*20}"),
    "okta_token": ("OKTA_API_TOKEN", "00{url*40}"),
    "snyk_token": ("SNYK_TOKEN", "{uuid}"),
    "postmark_token": ("POSTMARK_SERVER_TOKEN", "{uuid}"),
    "algolia_key": ("ALGOLIA_ADMIN_KEY", "{hex*32}"),
    "twilio_auth": ("TWILIO_AUTH_TOKEN", "{hex*32}"),
    "asana_pat": ("ASANA_TOKEN", "2/{num*16}/{num*16}:{hex*32}"),
    "intercom_token": ("INTERCOM_ACCESS_TOKEN", "dG9rO{b64*55}"),
    "auth0_secret": ("AUTH0_CLIENT_SECRET", "{url*64}"),
    "vercel_token": ("VERCEL_TOKEN", "{b62*24}"),
    "zendesk_token": ("ZENDESK_API_TOKEN", "{b62*40}"),
}

_SLOT = re.compile(r"\{(\w+)(?:\*(\d+)(?:-(\d+))?)?\}")


def fill(template: str, rng: Random) -> str:
    """A value of the template."""

    def one(slot: re.Match[str]) -> str:
        alphabet, low, high = slot.groups()
        if alphabet == "uuid":
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))
        if alphabet == "crc62":
            return _with_crc(rng)
        return "".join(rng.choices(ALPHABETS[alphabet], k=rng.randint(int(low), int(high or low))))

    return _SLOT.sub(one, template)


def _with_crc(rng: Random) -> str:
    """Thirty characters and the six of their CRC-32 in base 62, as GitHub and npm end their tokens."""
    body = "".join(rng.choices(BASE62, k=30))
    check, text = zlib.crc32(body.encode()), ""
    for _ in range(6):
        check, rest = divmod(check, 62)
        text = BASE62[rest] + text
    return body + text


def private_key(rng: Random) -> str:
    label = rng.choice(("RSA ", "EC ", "DSA ", "", "ENCRYPTED ", "OPENSSH ", "PGP "))
    body = base64.b64encode(rng.randbytes(rng.randint(120, 900))).decode()
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    block = " BLOCK" if label == "PGP " else ""
    gap = "\n" if block else ""
    return f"-----BEGIN {label}PRIVATE KEY{block}-----\n{gap}{lines}\n-----END {label}PRIVATE KEY{block}-----"


def jwt(rng: Random) -> str:
    header = {"alg": rng.choice(("HS256", "RS256", "ES256")), "typ": "JWT"}
    claims = {"sub": str(rng.randint(1, 10**10)), "iat": rng.randint(1_600_000_000, 1_800_000_000)}
    parts = [
        json.dumps(header).encode(),
        json.dumps(claims).encode(),
        rng.randbytes(rng.choice((32, 64, 256))),
    ]
    return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts)


def connection_string(rng: Random) -> str:
    scheme = rng.choice(
        ("postgresql", "postgres", "mysql", "mongodb+srv", "redis", "amqp", "mssql", "https", "ftp")
    )
    password = "".join(rng.choices(BASE62 + "!$-_.", k=rng.randint(8, 24)))
    return f"{scheme}://svc_{fill('{low*5}', rng)}:{password}@db{rng.randint(1, 99)}.corp.internal:5432/main"


def assignment(rng: Random) -> str:
    """A key or password in an assignment, of no vendor's form; twenty to sixty characters."""
    name = rng.choice(
        ("api_key", "SECRET_KEY", "auth_token", "client_secret", "DB_PASSWORD", "accessToken", "apiKey")
    )
    value = fill(f"{{{rng.choice(('b62', 'hex', 'b64', 'url'))}*{rng.randint(24, 60)}}}", rng)
    return rng.choice(('{} = "{}"', "{}={}", '"{}": "{}"', "{}: {}", "{}: '{}'")).format(name, value)
