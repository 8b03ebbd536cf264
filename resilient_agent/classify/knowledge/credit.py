"""Nothing works until a person acts: no credit left, a spending cap reached, an account closed."""

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["CREDIT", "CREDIT_CODES"]

CREDIT_CODES = (
    Rule(
        "credit/out-of-credit",
        when=When(
            codes=(
                "insufficient_quota",  # OpenAI
                "insufficient_user_quota",  # new-api, one-api
                "insufficient_balance",
                "insufficient_credits",
                "insufficient_funds",
                "billing_hard_limit_reached",  # OpenAI
                "billing_not_active",
                "billing_error",  # Anthropic
                "enforced_spend_limit_reached",
                "budget_exceeded",  # LiteLLM proxy
                "exceeded_current_quota_error",  # Moonshot
                "credits_exhausted",
                "credit_required",
                "payment_required",
                "quota_not_enough",
                "pre_consume_token_quota_failed",  # new-api
            )
        ),
        then=ErrorType.FATAL,
        because="the account has no credit left: nothing sent with it works until a person pays",
        seen="OpenAI documentation, Error codes; Anthropic documentation, Errors; Moonshot documentation; new-api",
    ),
    Rule(
        "credit/overdue",
        when=When(
            codes=(
                "arrearage",  # DashScope
                "prepaid_bill_overdue",
                "postpaid_bill_overdue",
                "commodity_not_purchased",
                "account_overdue_error",  # Volcengine
                "service_overdue",
                "service_stop_arrears",  # Hunyuan
                "in_arrears",
                "not_enough_balance",
                "charge_resource_exhaust",
                "resource_pack_exhausted",
                "free_resource_pack_exhausted",
                "balance_exhausted",
                "1113",  # Zhipu: balance spent
                "1309",  # Zhipu: the plan has expired
                "1310",  # Zhipu: the week's or month's share of the plan is spent
            )
        ),
        then=ErrorType.FATAL,
        because="the account's bill is unpaid: nothing sent with it works until a person pays",
        seen="DashScope, Volcengine, Hunyuan and Zhipu documentation, error codes",
    ),
    Rule(
        "credit/account-closed",
        when=When(
            codes=(
                "account_deactivated",
                "account_disabled",
                "account_suspended",
                "organization_restricted",  # Groq
                "organization_disabled",
                "organization_deactivated",
                "access_terminated",
                "access_terminated_error",  # Moonshot
                "user_suspended",
                "not_signed_up",  # AWS
                "opt_in_required",
                "consumer_suspended",  # Google
                "billing_disabled",
                "unsupported_country_region_territory",
                "1110",  # Zhipu: account inactive
                "1112",  # Zhipu: account locked
                "1121",
            )
        ),
        then=ErrorType.FATAL,
        because="the account is closed, or not served where it is used: a person must act",
        seen="OpenAI documentation, Error codes; Groq and Moonshot documentation; google.rpc.ErrorInfo reasons",
    ),
)

CREDIT = (
    Rule(
        "credit/affordable-if-smaller",
        when=When(words=("can only afford", "fewer max tokens", "prompt tokens limit exceeded")),
        then=ErrorType.DEGRADED,
        because="the credit that is left pays for a smaller answer: ask for fewer tokens",
        seen="OpenRouter: 402 `This request requires more credits, or fewer max_tokens`",
    ),
    Rule(
        "credit/spent",
        when=When(
            words=(
                "insufficient balance",
                "insufficient account balance",
                "insufficient credit*",
                "insufficient funds",
                "insufficient quota",
                "insufficient user quota",
                "balance is insufficient",
                "balance is not enough",
                "balance not enough",
                "not enough balance",
                "not enough credit*",
                "no credits left",
                "no credits remaining",
                "no remaining credits",
                "no available credits",
                "have no credits",
                "any credits",
                "credits are depleted",
                "credits depleted",
                "has run out of",
                "for the month",
                "for this month",
                "key limit exceeded",
                "compute time quota",
                "space quota",
                "storage quota",
                "valid credit card",
                "unavailable for account",
                "out of credit*",
                "run out of credit*",
                "ran out of credit*",
                "credit balance",
                "negative balance",
                "used all available credit*",
                "used up your credit*",
                "monthly included credit*",
                "purchase more credit*",
                "buy credit*",
                "add credit* to",
                "exceeded your current quota",
                "check your plan and billing",
                "spending limit",
                "spending cap",
                "spend limit",
                "spend cap",
                "api usage limit*",
                "monthly usage limit",
                "monthly quota",
                "monthly limit",
                "calls month",
                "requests month",
                "requests per month",
                "weekly usage limit",
                "plan s usage limit",
                "plan s set usage limit",
                "billing hard limit",
                "billing cycle",
                "billing details",
                "billing is not active",
                "billing account",
                "billing or payment",
                "payment required",
                "payment method",
                "budget has been exceeded",
                "budget exceeded",
                "exceeded budget",
                "over budget",
                "overdue",
                "in arrears",
                "余额不足",
                "余额已用尽",
                "余额为",
                "账户余额",
                "欠费",
                "充值",
                "额度不足",
                "额度已用尽",
                "额度用尽",
                "额度已用完",
                "资源包已",
                "资源包余量",
                "停服",
                "套餐已到期",
                "套餐已过期",
            ),
            unless=("rate limit is reduced", "your rate limit"),
        ),
        then=ErrorType.FATAL,
        because="the account has no credit or has reached its spending cap: a person must act",
        seen="xAI, Anthropic, Google AI Studio, Replicate, Hugging Face and MiniMax messages, under 400, 403, 429 and 500",
    ),
    Rule(
        "credit/budget-spent",
        when=When(
            words=(
                "budget is exhausted",
                "budget exhausted",
                "budget has been exhausted",
                "budget was exhausted",
                "exhausted your budget",
                "exhausted its budget",
            ),
            # Of money, and not of anything else that is counted.
            also=(
                "your",
                "team",
                "organization",
                "org",
                "project",
                "workspace",
                "tenant",
                "customer",
                "user",
                "account",
                "api key",
                "virtual key",
                "monthly",
                "spend*",
                "cost",
                "usd",
                "billing",
            ),
            unless=(
                "retry*",
                "retries",
                "attempts",
                "token budget",
                "tokens",
                "thinking",
                "reasoning",
                "time budget",
                "step budget",
                "error budget",
                "latency budget",
                "tool",
                "tools",
                "search",
                "crawl",
                "compute",
                "call budget",
                "turn",
                "deadline*",
            ),
        ),
        then=ErrorType.FATAL,
        because="the budget is spent: a person must raise it",
        seen="a gateway: 403 `Your ... budget is exhausted (remaining: $0.000000)`",
    ),
    Rule(
        "credit/plan-share",
        when=When(
            words=("每周", "每月", "本周", "本月", "当月", "周限额", "月限额", "周额度", "月额度"),
            also=("上限", "限额", "额度", "配额", "用量"),
            unless=("频率", "频繁", "并发", "小时", "分钟", "每秒", "速率", "限流", "请求过多", "免费"),
        ),
        then=ErrorType.FATAL,
        because="the week's or month's share of the plan is spent: a person must act",
        seen="Zhipu: 429 `您已达到每周/每月使用上限`, also where a gateway leaves out the code",
    ),
    Rule(
        "credit/account-suspended",
        when=When(
            words=(
                "suspended",
                "deactivated",
                "banned",
                "was terminated",
                "been terminated",
                "denied access",
                "锁定",
                "封禁",
                "停用",
                "冻结",
                "禁用",
            ),
            also=(
                "account*",
                "organization*",
                "project",
                "user",
                "team",
                "workspace",
                "your access",
                "用户",
                "账号",
                "账户",
            ),
            unless=("model", "temporar*", "process", "virtual network", "connection"),
        ),
        then=ErrorType.FATAL,
        because="the account is suspended or closed: a person must act",
        seen="Fireworks: 412 `Account is suspended`; Google: `Your project has been denied access`; one-api",
    ),
    # Of the country, but of one model only; behind it the same of the whole account.
    Rule(
        "credit/model-not-served-here",
        when=When(
            words=(
                "not available in your region",
                "not available in your country",
                "not available in this region",
                "not available in this country",
                "not supported in your region",
                "not supported in your country",
            ),
            also=("this model", "the model", "that model", "requested model", "selected model", "model is not"),
            unless=("location is not supported", "our api", "the api", "this api", "service", "account*"),
        ),
        then=ErrorType.DEGRADED,
        because="this one model is not served in this country: another model can answer",
        seen="OpenCode: 403 `This model is not available in your country.`",
    ),
    Rule(
        "credit/account-shut",
        when=When(
            words=(
                "account is not active",
                "account has been disabled",
                "account is disabled",
                "organization has been disabled",
                "organization has been restricted",
                "organization is disabled",
                "account is in good standing",
                "location is not supported",
                "country region or territory not supported",
                "not available in your region",
                "not available in your country",
                "unsupported country",
                "账户已锁定",
                "账户异常",
            )
        ),
        then=ErrorType.FATAL,
        because="the account is closed, or not served where it is used: a person must act",
        seen="OpenAI: `Your access was terminated`; Google: `User location is not supported for the API use`",
    ),
)
