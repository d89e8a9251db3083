"""Pairs of sentences that say the same in other words, written for this repository; every pair has its own subject."""

from __future__ import annotations

_REPORT = """
The train to the coast leaves at six in the morning. | At 6 a.m. the seaside train departs.
She forgot her umbrella and got soaked on the way home. | Without her umbrella she was drenched walking back.
The bakery on the corner sells out of rye bread by noon. | By midday there is no rye loaf left at the corner bakery.
Our neighbour's dog barks whenever the mail arrives. | Each time the postman comes, the dog next door makes noise.
He repaired the old clock that his grandfather had built. | The antique clock made by his grandpa was fixed by him.
The committee postponed the vote until next month. | The panel decided to delay the ballot by a month.
Heavy snow closed the mountain pass for three days. | For three days the road over the mountains was shut by snow.
The museum is free for children under twelve. | Kids younger than twelve enter the museum without paying.
I would like to change the password of my account. | How can I reset my login password?
The nurse checked his blood pressure twice. | Two times his blood pressure was measured by the nurse.
Tomatoes grow best in warm and sunny places. | Warm spots with a lot of sun suit tomato plants.
The striker scored in the last minute of the final. | A goal by the forward came late in the match.
Scientists found a new species of frog in the rainforest. | Researchers discovered an unknown frog in the jungle.
The company plans to hire two hundred engineers this year. | The firm will fill 200 engineering jobs this year.
My phone battery does not last a whole day any more. | These days my mobile runs out of power before evening.
The bridge was built by the Romans two thousand years ago. | Roman builders constructed this bridge two millennia back.
Please send the signed contract back by Friday. | Kindly return the contract with your signature before the weekend.
The children built a castle out of wet sand. | A sandcastle was made by the kids.
Interest rates were raised by a quarter of a percent. | The central bank lifted its rate by 0.25 points.
He plays the violin in the city orchestra. | In the town's symphony he is a violinist.
The recipe calls for two eggs and a cup of flour. | You need a cup of flour and a pair of eggs for this dish.
A fire destroyed the warehouse near the harbour. | The storage building by the port burned down.
She is afraid of flying, so she takes the bus. | Because planes scare her she travels by coach.
The lecture on black holes was attended by many students. | Lots of students came to hear the talk about black holes.
Water boils at a lower temperature on high mountains. | At high altitude, the boiling point of water drops.
The thief escaped through the kitchen window. | The burglar got away by climbing out of the window in the kitchen.
They adopted a kitten from the animal shelter. | A young cat from the shelter found a home with them.
The printer is out of paper again. | Once more there are no sheets left in the printer.
Regular exercise lowers the risk of heart disease. | People who work out often have healthier hearts.
The king abdicated in favour of his eldest daughter. | The monarch left the throne to his first-born girl.
The software update fixed the crash at startup. | After the patch, the program no longer crashes when it is opened.
There is a wasp nest under the roof of the garage. | Wasps have built their home beneath the garage roof.
The flight to Tokyo was cancelled because of the typhoon. | Owing to the storm, the plane to Japan did not take off.
He grew up on a farm in the north of Sweden. | His childhood was spent on a Swedish farm up north.
The shop gives a discount to students. | Students pay less in this store.
The painting was sold for two million at auction. | At the auction someone paid two million for the picture.
The judge dismissed the case for lack of evidence. | Since there was no proof, the court threw out the lawsuit.
Whales sing to find each other over long distances. | Over many miles, whales communicate by song.
The heating broke down on the coldest night of the year. | During the most freezing night the radiator stopped working.
Wash your hands before you prepare food. | Before cooking, hands ought to be cleaned.
The novel tells the story of a sailor who loses his memory. | It is a book about a seaman with amnesia.
The new metro line halves the time to the airport. | Getting to the airport takes half as long with the new subway.
He cannot eat peanuts because he is allergic to them. | A peanut allergy keeps him from eating those nuts.
The election was won by a margin of only ninety votes. | Just ninety ballots decided who won the election.
She learned to ride a bicycle when she was four. | At the age of four she could already cycle.
The vase fell off the shelf and broke into pieces. | The vase dropped from the rack and shattered.
The river flooded the village after weeks of rain. | Weeks of rainfall made the stream overflow into the village.
Turn off the lights when you leave the office. | The last one out of the office should switch off the lamps.
Bees are essential for the pollination of fruit trees. | Orchards depend on bees to pollinate the blossoms.
The astronaut spent six months on the space station. | For half a year the spacewoman lived aboard the orbital station.
Coffee in the evening keeps me awake at night. | If I drink coffee late in the day, I cannot sleep.
The carpenter made a table out of oak. | An oak table was built by the woodworker.
The lost wallet was handed in at the police station. | Somebody brought the missing purse to the police.
Unemployment fell to its lowest level in ten years. | The jobless rate has not been this low for a decade.
The twins look so alike that teachers mix them up. | Even at school nobody can tell the two identical sisters apart.
The desert gets very cold after sunset. | Once the sun has gone down, it is freezing in the desert.
The chef recommends the grilled fish with lemon. | The cook suggests trying fish from the grill and lemon.
The moon causes the tides of the sea. | Ebb and flow are due to lunar gravity.
He donated his collection of stamps to the library. | His stamp albums were given to the library as a gift.
The lift is out of order, so please use the stairs. | As the elevator does not work, you have to walk up.
"""
_SELECTION = """
The parcel should arrive on Tuesday. | Delivery of the package is expected on Tuesday.
The garden gate squeaks when it is opened. | Opening the gate of the garden makes a squeaking noise.
She speaks four languages fluently. | Four languages are spoken by her without effort.
The hotel pool is closed for cleaning. | Because it is being cleaned, nobody may swim at the hotel.
Parking here costs three euros an hour. | You pay three euros for each hour your car stays here.
The volcano erupted after a century of silence. | For the first time in a hundred years the volcano spat lava.
He lost the chess game in twenty moves. | After twenty moves he was checkmated.
The vaccine protects against measles. | One does not get measles after the jab.
The tailor shortened the sleeves of the coat. | The arms of the jacket were taken in by the dressmaker.
My laptop is too slow for video editing. | Cutting films on my computer takes forever.
The owl hunts at night. | It is after dark that owls look for prey.
The tax return must be filed by the end of May. | May is the deadline for declaring your income.
A tree fell across the railway tracks. | The rails were blocked by a fallen tree.
The band cancelled its tour after the singer fell ill. | With their vocalist sick, the group will not go on tour.
The soup needs a little more salt. | Some extra salt would improve the broth.
The glacier has retreated by a mile since 1950. | In seventy years the ice has become a mile shorter.
They painted the nursery yellow. | The baby's room now has yellow walls.
The spare key is under the flower pot. | Look beneath the plant by the door for another key.
The marathon was won by a runner from Kenya. | A Kenyan athlete came first in the long race.
The well dried up during the summer. | In the hot months there was no water left in the well.
"""
_CALIBRATION = """
The ferry was late because of fog on the lake.
Can you recommend a good dentist in this town?
Copper conducts electricity better than iron does.
The librarian asked us to whisper.
Our team meets every second Wednesday at ten.
The cat sleeps on the windowsill in the afternoon.
He wrote a letter to the editor of the local newspaper.
The cheese has to ripen for at least nine months.
A new law bans plastic bags in supermarkets.
The hikers followed the marked trail up to the hut.
She bought a second-hand bicycle for her son.
Is breakfast included in the price of the room?
The comet will be visible to the naked eye in October.
The plumber replaced the leaking pipe under the sink.
Prices for wheat rose sharply after the drought.
The actor forgot his lines in the second act.
Please keep the receipt in case you want to return it.
The lighthouse was automated thirty years ago.
A flock of geese flew south over the fields.
The mayor opened the new playground on Sunday.
He has been learning Portuguese for two years.
The elephants drank at the water hole at dusk.
The factory makes windows and doors of aluminium.
The doctor advised her to rest for a week.
My grandmother keeps her jewellery in a wooden box.
The referee showed the goalkeeper a red card.
The server could not be reached for several minutes.
Honey never spoils if it is stored in a closed jar.
The street musicians played an old waltz.
The treaty was signed by eleven nations.
The potter glazed the bowls in dark blue.
Where can I exchange dollars for pounds?
The submarine dived to a depth of four hundred metres.
He was late for work because his alarm did not ring.
The orchid blooms twice a year if it is kept warm.
The witness described the driver of the grey van.
They celebrated their wedding in a small chapel.
The telescope's mirror weighs more than a tonne.
Half of the apples were eaten by wasps.
The exam consists of forty questions in two parts.
The skipper reefed the sails before the gale.
She knitted a scarf for each of her cousins.
The archive holds maps from the seventeenth century.
A power cut stopped the trams in the whole city.
The toddler refused to put on his shoes.
Rust had eaten through the floor of the car.
The pharmacist explained how to take the pills.
Tickets are valid for ninety minutes after stamping.
The beavers dammed the brook behind the mill.
Investors sold their shares in the airline.
The tent is waterproof but hard to pitch in the wind.
He measures the rainfall in his yard each day.
The speech was translated into six languages at once.
The lemon tree stands indoors during the winter.
An earthquake shook the island early on Monday.
The accountant found a mistake in the balance sheet.
The puppets are carved from lime wood.
The shepherd counted his sheep at the gate.
We ran out of milk, so I drank my tea black.
The satellite measures the height of the oceans.
The poem has four verses of six lines each.
The kettle whistles when the water boils.
A mechanic changed the tyres in ten minutes.
The choir rehearses in the hall above the fire station.
"""


def pairs(split: str) -> list[tuple[str, str]]:
    """The pairs of "selection" or "report"."""
    lines = {"selection": _SELECTION, "report": _REPORT}[split].strip().splitlines()
    return [(first, second) for first, second in (line.split(" | ") for line in lines)]


def singles() -> list[str]:
    """The sentences for calibration; no subject is that of a pair."""
    return _CALIBRATION.strip().splitlines()
