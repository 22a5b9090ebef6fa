from tallystick.record import ChainId
from tests.support.verifiers import NoContract
def test_two(bench):
    c = bench.run(lambda r: r.issue_challenge("alice","signature",ChainId(1)))
    print(bench.submit(c, bench.signed(c), NoContract()).user_id)
    bench.sql("UPDATE tally.users SET wallet_address = NULL WHERE id='alice'")
    bench.add_user("mallory", bench.wallets["alice"].address)
    bench.wallets["mallory"]=bench.wallets["alice"]
    c = bench.run(lambda r: r.issue_challenge("mallory","signature",ChainId(999)))
    print(bench.submit(c, bench.signed(c), NoContract()))
    assert 0
