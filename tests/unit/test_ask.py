"""What a job costs under an ask, and whether it fits."""

from hypothesis import given
from hypothesis import strategies as st

from deai.ask import Ask, Capacity, Gpu, Prices, fits, quote, remaining, without
from deai.spec import Resources

amounts = st.integers(0, 10**24)
prices = st.builds(Prices, job=amounts, core_second=amounts, gib_second=amounts, gpu_second=amounts)
resources = st.builds(
    Resources,
    cpu_millis=st.integers(100, 8_000),
    memory_mib=st.integers(16, 10_000),
    disk_mib=st.integers(16, 10_000),
    gpus=st.integers(0, 4),
    vram_mib=st.sampled_from([0, 16_000, 80_000]),
    gpu_model=st.sampled_from([None, "a100", "T4"]),
)
gpus = st.sampled_from(
    [
        Gpu(model="NVIDIA A100-SXM4-80GB", vram_mib=81_920),
        Gpu(model="NVIDIA A100-PCIE-40GB", vram_mib=40_960),
        Gpu(model="Tesla T4", vram_mib=15_360),
    ]
)
capacities = st.builds(
    Capacity,
    cpu_millis=st.integers(0, 16_000),
    memory_mib=st.integers(0, 20_000),
    disk_mib=st.integers(0, 20_000),
    gpus=st.lists(gpus, max_size=6).map(tuple),
    slots=st.integers(1, 4),
)


def test_a_whole_job_is_priced_by_the_second_and_rounded_up_once() -> None:
    rates = Prices(job=5, core_second=10, gib_second=1_024, gpu_second=100)
    wanted = Resources(cpu_millis=1_500, memory_mib=512, gpus=2)
    assert quote(rates, wanted, 10) == 5 + 10 * (15 + 512 + 200)
    assert quote(Prices(core_second=1), Resources(cpu_millis=100, memory_mib=16), 1) == 1
    assert quote(Prices(), wanted, 10) == 0


@given(prices, resources, st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_time_never_costs_less(rates: Prices, wanted: Resources, some: int, more: int) -> None:
    assert quote(rates, wanted, some) <= quote(rates, wanted, some + more)


@given(prices, resources, st.integers(1, 10**6))
def test_a_quote_is_never_below_the_exact_price_and_less_than_one_above(
    rates: Prices, wanted: Resources, seconds: int
) -> None:
    exact = (rates.job * 1_024_000) + seconds * (
        rates.core_second * wanted.cpu_millis * 1_024
        + rates.gib_second * wanted.memory_mib * 1_000
        + rates.gpu_second * wanted.gpus * 1_024_000
    )
    assert 0 <= quote(rates, wanted, seconds) * 1_024_000 - exact < 1_024_000


@given(resources, capacities)
def test_what_fits_can_be_taken_away_and_nothing_goes_below_zero(wanted: Resources, free: Capacity) -> None:
    if fits(wanted, free) is None:
        left = without(free, wanted)
        assert min(left.cpu_millis, left.memory_mib, left.disk_mib, left.slots) >= 0
        assert len(left.gpus) == len(free.gpus) - wanted.gpus


@given(capacities, st.lists(resources, max_size=3), st.lists(resources, max_size=6))
def test_a_job_whose_run_has_ended_holds_disk_alone_but_only_as_many_as_there_are_slots(
    machine: Capacity, working: list[Resources], ended: list[Resources]
) -> None:
    free = remaining(machine, working, ended)
    holding = working + ended[machine.slots :]
    assert free.slots == machine.slots - len(holding)
    assert free.cpu_millis == machine.cpu_millis - sum(each.cpu_millis for each in holding)
    assert free.memory_mib == machine.memory_mib - sum(each.memory_mib for each in holding)
    assert free.disk_mib == machine.disk_mib - sum(each.disk_mib for each in working + ended)
    without_them = remaining(machine, holding, [])
    assert free.gpus == without_them.gpus
    assert len(free.gpus) >= len(machine.gpus) - sum(each.gpus for each in holding)


def test_a_gpu_is_free_again_once_the_run_has_ended() -> None:
    gpu = Gpu(model="A100", vram_mib=40_000)
    machine = Capacity(cpu_millis=2_000, memory_mib=4_096, disk_mib=2_048, gpus=(gpu,), slots=1)
    job = Resources(gpus=1, disk_mib=1_024)
    assert fits(job, remaining(machine, [job], [])) == "no free slot"
    assert fits(job, remaining(machine, [], [job])) is None
    assert fits(job, remaining(machine, [], [job, job])) == "no free slot"
    assert fits(Resources(disk_mib=1_025), remaining(machine, [], [job])) == "disk_mib: wants 1025, 1024 free"


def test_the_reason_names_what_lacks_and_how_much_there_is() -> None:
    free = Capacity(
        cpu_millis=2_000, memory_mib=4_096, disk_mib=1_024, gpus=(Gpu(model="Tesla T4", vram_mib=15_360),)
    )
    assert fits(Resources(memory_mib=8_192), free) == "memory_mib: wants 8192, 4096 free"
    assert (
        fits(Resources(gpus=1, gpu_model="A100", vram_mib=80_000), free)
        == "gpus: wants 1 A100 80000 MiB, 0 free"
    )
    assert fits(Resources(gpus=1, gpu_model="t4"), free) is None


def test_the_smallest_fitting_gpu_is_given_away_first() -> None:
    small, big = Gpu(model="A100", vram_mib=40_000), Gpu(model="A100", vram_mib=80_000)
    free = Capacity(cpu_millis=2_000, memory_mib=4_096, disk_mib=2_048, gpus=(big, small), slots=2)
    assert without(free, Resources(gpus=1)).gpus == (big,)


def test_an_ask_reads_back_from_its_canonical_spelling() -> None:
    ask = Ask(
        provider="0x5FbDB2315678afecb367f032d93F642f64180aa3",
        chain_id=1,
        contract="0x5FbDB2315678afecb367f032d93F642f64180aa3",
        capacity=Capacity(cpu_millis=1, memory_mib=1, disk_mib=1, gpus=(Gpu(model="x", vram_mib=1),)),
        prices={"0x5FbDB2315678afecb367f032d93F642f64180aa3": Prices(job=10**30)},
        issued_at=1,
        expires_at=2,
    )
    assert Ask.parse(ask.canonical()) == ask
